"""Keys in the database, as authentication reads them."""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

import models.access
from models.dal import AsyncDAL, Unavailable
from services.access.authentication import TOUCH_EVERY, KeyRecord

log = logging.getLogger("millrace.access")


class DatabaseKeys:
    """The `KeyStore` of the server."""

    def __init__(self, db: AsyncDAL) -> None:
        self._db = db

    async def find_key(self, key_hash: str, /) -> KeyRecord | None:
        """The key stored under this hash, with its user and their roles."""
        row, roles = await models.access.find_key(self._db, key_hash)
        if row is None:
            return None
        return KeyRecord(
            id=row.id,
            user_id=row.user_id,
            user_name=row.name,
            hash=row.hash,
            scopes=frozenset(row.scopes),
            community_id=row.community_id,
            is_admin=row.is_admin,
            is_active=row.is_active,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
            roles=frozenset((role.community_id, role.role) for role in roles),
        )

    async def touch_key(self, key_id: UUID, now: datetime, /) -> None:
        """Note that the key is in use; once a minute, however many processes see it. A note that cannot be written
        keeps nobody from reading."""
        try:
            await models.access.touch_key(self._db, key_id, now=now, every=TOUCH_EVERY)
        except Unavailable as error:
            log.warning("key.use_not_noted key=%s error=%s", key_id, error)
