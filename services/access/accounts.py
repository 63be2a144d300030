"""Users and their roles in communities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import models.access
from models.access import RoleRow, UserRow
from models.dal import AsyncDAL, Call, Duplicate
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.access.authentication import Authentication
from services.errors import Conflict, NotFound
from services.idempotency import Also, nothing


@dataclass(frozen=True, slots=True)
class Account:
    """A user with their roles."""

    user: UserRow
    roles: Sequence[RoleRow] = field(default=())


class Accounts:
    """The people behind the keys."""

    def __init__(self, db: AsyncDAL, *, audit: AuditLog, authentication: Authentication) -> None:
        self._db = db
        self._audit = audit
        self._authentication = authentication

    async def create(self, values: Mapping[str, Any], *, by: Actor, also: Also = nothing) -> Account:
        """Add a user; `also` yields statements of the same transaction for their id.

        Raises `Conflict` when the name is taken.
        """
        row = {**values, "is_active": True, "created": self._authentication.now()}
        try:
            async with self._db.transaction():
                new = await models.access.insert_user(self._db, row)
                assert new is not None
                entry = self._entry("create_user", new.id, by, {"name": row["name"], "is_admin": row["is_admin"]})
                await self._db.batch(self._audit.call(entry), *also(new.id))
        except Duplicate:
            raise Conflict(f"The name {row['name']} is taken") from None
        say(entry)
        return Account(UserRow(id=new.id, **row))

    async def get(self, user_id: int) -> Account:
        """One user. Raises `NotFound`."""
        user = await models.access.user(self._db, user_id)
        if user is None:
            raise NotFound(f"There is no user {user_id}")
        return Account(user, await models.access.roles_of(self._db, [user_id]))

    async def list(self, *, after: int, limit: int, offset: int, name: str | None = None) -> tuple[list[Account], int]:
        """Users by id with their roles, and how many there are; with `name` the one of that name."""
        if name is not None:
            named = await models.access.user_named(self._db, name)
            return ([] if named is None else [await self.get(named.id)]), int(named is not None)
        found = await models.access.users(self._db, after=after, limit=limit, offset=offset)
        held: dict[int, list[RoleRow]] = defaultdict(list)
        for role in await models.access.roles_of(self._db, [user.id for user in found]):
            held[role.user_id].append(role)
        return [Account(user, held[user.id]) for user in found], await models.access.count_users(self._db)

    async def update(self, user_id: int, values: Mapping[str, Any], *, by: Actor) -> Account:
        """Change a user; nothing to change is no change.

        Raises `NotFound`, `Conflict` (name taken, or nobody would be left to administer).
        """
        before = await self.get(user_id)
        if not values:
            return before
        entry = self._entry("update_user", user_id, by, dict(values))
        try:
            async with self._db.transaction():
                if before.user.is_admin:
                    await models.access.lock_admins(self._db)
                await models.access.update_user(self._db, user_id, dict(values))
                if before.user.is_admin and not await self._an_admin_remains():
                    raise Conflict("This is the last active administrator")
                await self._audit.call(entry)
        except Duplicate:
            raise Conflict(f"The name {values['name']} is taken") from None
        say(entry)
        self._authentication.forget()
        return await self.get(user_id)

    async def give_role(self, role: RoleRow, *, by: Actor) -> Account:
        """Give a role; giving it twice changes nothing. Raises `NotFound`."""
        await self.get(role.user_id)
        call = models.access.add_role(self._db, role, now=self._authentication.now())
        await self._change_role("give_role", role, call, by)
        return await self.get(role.user_id)

    async def take_role(self, role: RoleRow, *, by: Actor) -> Account:
        """Take a role away. Raises `NotFound` when the user does not hold it."""
        account = await self.get(role.user_id)
        if role not in account.roles:
            raise NotFound(f"The user does not hold the role {role.role} in community {role.community_id}")
        await self._change_role("take_role", role, models.access.drop_role(self._db, role), by)
        return await self.get(role.user_id)

    async def _change_role(self, action: str, role: RoleRow, call: Call[int], by: Actor) -> None:
        details = {"role": role.role, "community_id": role.community_id}
        entry = self._entry(action, role.user_id, by, details, community_id=role.community_id)
        await self._db.batch(call, self._audit.call(entry))
        say(entry)
        self._authentication.forget()

    async def _an_admin_remains(self) -> bool:
        return await models.access.other_admins(self._db, 0) > 0

    @staticmethod
    def _entry(
        action: str, user_id: int, by: Actor, details: dict[str, Any], *, community_id: int | None = None
    ) -> Entry:
        return Entry(
            category=Category.AUDIT,
            action=action,
            result=Result.SUCCESS,
            actor=by,
            community_id=community_id,
            resource=f"user:{user_id}",
            details=details,
        )


async def ensure_first_admin(db: AsyncDAL, call_for: Callable[[int], Sequence[Call[Any]]], *, now: datetime) -> bool:
    """Make the user `admin` with the statements of `call_for` when there are no users; whether that happened."""
    if await models.access.count_users(db):
        return False
    values = {"name": "admin", "email": None, "is_admin": True, "is_active": True, "created": now}
    try:
        async with db.transaction():
            new = await models.access.insert_user(db, values)
            assert new is not None
            await db.batch(*call_for(new.id))
    except Duplicate:
        return False
    return True
