"""`millrace key` and `millrace user`: for the operator on the machine, who needs no key."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import click

import models.access
from controllers.access_views import account as account_view
from controllers.context import Services
from controllers.terminal.session import Terminal
from models.access import RoleRow, UserRow
from services.access.actor import SYSTEM
from services.access.authentication import utc_now
from services.access.key_service import KeyWish
from services.access.permissions import Scope
from services.errors import NotFound

KEY_COLUMNS = ("id", "user_id", "name", "prefix", "scopes", "community_id", "expires_at", "revoked_at", "last_used_at")
USER_COLUMNS = ("id", "name", "email", "is_admin", "is_active", "roles")


@click.group("key")
def key_group() -> None:
    """Make, list, rotate and revoke API keys."""


@key_group.command("create")
@click.option("--user", required=True, help="Name of the user whose key it is.")
@click.option("--name", default="from the command line", show_default=True, help="What the key is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="Limit the key; may be repeated.",
)
@click.option("--community", type=click.IntRange(1), help="Limit the key to one community.")
@click.option("--days", type=click.IntRange(1, 36500), help="The key expires after this many days.")
@click.pass_obj
def create_key(session: Terminal, /, user: str, **wished: Any) -> None:
    """Make an API key and print it; it is shown only now."""

    async def work(here: Services) -> dict[str, Any]:
        found = await _user(here, user)
        days = wished["days"]
        wish = KeyWish(
            name=wished["name"],
            user_id=found.id,
            scopes=[Scope(scope) for scope in wished["scopes"]],
            community_id=wished["community"],
            expires_at=utc_now() + timedelta(days=days) if days else None,
        )
        made = await here.keys.create(wish, by=SYSTEM)
        return {"id": made.row.id, "user_id": made.row.user_id, "prefix": made.row.prefix, "key": made.text}

    session.show_one(session.run(work))


@key_group.command("list")
@click.option("--user", help="Only the keys of this user.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.pass_obj
def list_keys(session: Terminal, user: str | None, limit: int) -> None:
    """List API keys, newest first."""

    async def work(here: Services) -> list[dict[str, Any]]:
        whose = (await _user(here, user)).id if user else None
        rows, _ = await here.keys.list(whose, limit=limit, offset=0)
        return [asdict(row) for row in rows]

    session.show(session.run(work), KEY_COLUMNS)


@key_group.command("revoke")
@click.argument("key_id", type=click.UUID)
@click.pass_obj
def revoke_key(session: Terminal, key_id: UUID) -> None:
    """End an API key; running servers refuse it within two seconds."""
    at = session.run(lambda here: here.keys.revoke(key_id, by=SYSTEM))
    session.show_one({"id": key_id, "revoked_at": at})


@key_group.command("rotate")
@click.argument("key_id", type=click.UUID)
@click.option(
    "--overlap",
    type=click.IntRange(0, 604_800),
    default=3600,
    show_default=True,
    help="Seconds the old key stays valid.",
)
@click.pass_obj
def rotate_key(session: Terminal, key_id: UUID, overlap: int) -> None:
    """Replace an API key by one that reaches as far, and print it."""
    made, until = session.run(lambda here: here.keys.rotate(key_id, overlap=timedelta(seconds=overlap), by=SYSTEM))
    session.show_one({"id": made.row.id, "prefix": made.row.prefix, "key": made.text, "old_key_valid_until": until})


@click.group("user")
def user_group() -> None:
    """Add, list and change users and their roles."""


@user_group.command("create")
@click.argument("name")
@click.option("--email")
@click.option("--admin", is_flag=True, help="An administrator passes every check.")
@click.pass_obj
def create_user(session: Terminal, name: str, email: str | None, admin: bool) -> None:
    """Add a user."""
    values = {"name": name, "email": email, "is_admin": admin}
    session.show_one(account_view(session.run(lambda here: here.accounts.create(values, by=SYSTEM))))


@user_group.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.pass_obj
def list_users(session: Terminal, limit: int) -> None:
    """List users with their roles."""

    async def work(here: Services) -> list[dict[str, Any]]:
        found, _ = await here.accounts.list(after=0, limit=limit, offset=0)
        return [account_view(account) for account in found]

    session.show(session.run(work), USER_COLUMNS)


@user_group.command("set")
@click.argument("name")
@click.option("--admin/--no-admin", "is_admin", default=None)
@click.option("--active/--no-active", "is_active", default=None, help="One who is not active is refused everywhere.")
@click.pass_obj
def set_user(session: Terminal, /, name: str, **flags: bool | None) -> None:
    """Change what a user is."""
    values = {flag: value for flag, value in flags.items() if value is not None}

    async def work(here: Services) -> dict[str, Any]:
        found = await _user(here, name)
        return account_view(await here.accounts.update(found.id, values, by=SYSTEM))

    session.show_one(session.run(work))


@user_group.command("role")
@click.argument("name")
@click.argument("community", type=click.IntRange(1))
@click.argument("role")
@click.option("--remove", is_flag=True, help="Take the role away.")
@click.pass_obj
def set_role(session: Terminal, name: str, community: int, role: str, remove: bool) -> None:
    """Give a user a role in a community, or take it away."""

    async def work(here: Services) -> dict[str, Any]:
        held = RoleRow(user_id=(await _user(here, name)).id, community_id=community, role=role)
        change = here.accounts.take_role if remove else here.accounts.give_role
        return account_view(await change(held, by=SYSTEM))

    session.show_one(session.run(work))


async def _user(here: Services, name: str) -> UserRow:
    found = await models.access.user_named(here.db, name)
    if found is None:
        raise NotFound(f"There is no user {name!r}")
    return found
