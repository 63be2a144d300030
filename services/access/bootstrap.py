"""The first administrator of an empty database."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import models.access
from models.dal import AsyncDAL, Call
from services.access import keys
from services.access.accounts import ensure_first_admin
from services.access.actor import SYSTEM
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.access.key_service import first_key, insert_call

log = logging.getLogger("millrace.access")


async def first_admin(
    db: AsyncDAL, *, audit: AuditLog, given: str | None, pepper: str | None, now: datetime
) -> str | None:
    """Give an empty database its administrator; the text of a key that was made here, to be shown once."""
    new = keys.stored(given, pepper=pepper) if given else keys.make(secrets.token_bytes(32), pepper=pepper)
    entry = Entry(
        category=Category.AUDIT,
        action="create_first_admin",
        result=Result.SUCCESS,
        actor=SYSTEM,
        reason="key given by the operator" if given else "key made at the first start",
        details={"prefix": new.prefix},
    )

    def calls(user_id: int) -> Sequence[Call[Any]]:
        return [insert_call(db, first_key(user_id, new, now), new.hash), audit.call(entry)]

    if await ensure_first_admin(db, calls, now=now):
        say(entry)
        return None if given else new.text
    if given and (await models.access.find_key(db, new.hash))[0] is None:
        log.warning("key.admin_not_used MILLRACE_ADMIN_KEY: this database has its users already")
    return None
