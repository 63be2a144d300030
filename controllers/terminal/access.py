"""`millrace key` and `millrace user`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import click

from controllers.terminal.api import USAGE, Api, CommandFailed, at
from controllers.terminal.command import Group
from controllers.terminal.session import Terminal
from services.access.permissions import Scope

KEY_COLUMNS = ("id", "user_id", "name", "prefix", "scopes", "community_id", "expires_at", "revoked_at", "last_used_at")
USER_COLUMNS = ("id", "name", "email", "is_admin", "is_active", "roles")


@click.group("key", cls=Group)
def key_group() -> None:
    """Make, list, rotate and revoke API keys."""


@key_group.command("create")
@click.option("--user", help="Name of the user whose key it is; default: whose key is used.")
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
def create_key(session: Terminal, /, user: str | None, **wished: Any) -> None:
    """Make an API key and print it; it is shown only now."""

    from services.access.authentication import utc_now

    async def work(api: Api) -> dict[str, Any]:
        if user is None and api.is_inside:
            raise CommandFailed("Say whose key it is: --user NAME", USAGE)
        days = wished["days"]
        body = {
            "name": wished["name"],
            "user_id": None if user is None else (await _user(api, user))["id"],
            "scopes": wished["scopes"],
            "community_id": wished["community"],
            "expires_at": (utc_now() + timedelta(days=days)).isoformat() if days else None,
        }
        made = await api.data("POST", "/api-keys", body)
        return {name: made[name] for name in ("id", "user_id", "prefix", "key")}

    session.show_one(session.ask(work))


@key_group.command("list")
@click.option("--user", help="Only the keys of this user.")
@click.option(
    "--mine", is_flag=True, help="Only the keys of whose key is used; nobody but an administrator sees others."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.pass_obj
def list_keys(session: Terminal, user: str | None, mine: bool, limit: int) -> None:
    """List API keys, newest first."""

    async def work(api: Api) -> list[dict[str, Any]]:
        whose = (await _user(api, user))["id"] if user else None
        everyone = True if whose is None and not mine else None
        return await api.rows("/api-keys", count=limit, user_id=whose, everyone=everyone)

    session.show(session.ask(work), KEY_COLUMNS)


@key_group.command("revoke")
@click.argument("key_id", type=click.UUID)
@click.pass_obj
def revoke_key(session: Terminal, key_id: UUID) -> None:
    """End an API key; running servers refuse it within two seconds."""
    session.show_one(session.ask(lambda api: api.data("DELETE", at("api-keys", key_id))))


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
    path = at("api-keys", key_id, "rotate")
    made = session.ask(lambda api: api.data("POST", path, {"overlap_seconds": overlap}))
    session.show_one({name: made[name] for name in ("id", "prefix", "key", "old_key_valid_until")})


@click.group("user", cls=Group)
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
    session.show_one(session.ask(lambda api: api.data("POST", "/users", values)))


@user_group.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.pass_obj
def list_users(session: Terminal, limit: int) -> None:
    """List users with their roles."""
    session.show(session.ask(lambda api: api.rows("/users", count=limit)), USER_COLUMNS)


@user_group.command("set")
@click.argument("name")
@click.option("--admin/--no-admin", "is_admin", default=None)
@click.option("--active/--no-active", "is_active", default=None, help="One who is not active is refused everywhere.")
@click.pass_obj
def set_user(session: Terminal, /, name: str, **flags: bool | None) -> None:
    """Change what a user is."""
    values = {flag: value for flag, value in flags.items() if value is not None}

    async def work(api: Api) -> dict[str, Any]:
        found = await _user(api, name)
        changed: dict[str, Any] = await api.data("PUT", at("users", found["id"]), values)
        return changed

    session.show_one(session.ask(work))


@user_group.command("role")
@click.argument("name")
@click.argument("community", type=click.IntRange(1))
@click.argument("role")
@click.option("--remove", is_flag=True, help="Take the role away.")
@click.pass_obj
def set_role(session: Terminal, name: str, community: int, role: str, remove: bool) -> None:
    """Give a user a role in a community, or take it away."""

    async def work(api: Api) -> dict[str, Any]:
        path = at("users", (await _user(api, name))["id"], "roles", community, role)
        held: dict[str, Any] = await api.data("DELETE" if remove else "PUT", path)
        return held

    session.show_one(session.ask(work))


async def _user(api: Api, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = await api.data("GET", "/users", name=name)
    if not found:
        raise CommandFailed(f"There is no user {name!r}; millrace user list shows them")
    return found[0]
