"""One transaction for what is written and for the record that it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.access.audit import AuditLog, Entry, say
from services.idempotency import Idempotency


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says of an update: the names of the fields whose value is another, and a move in full."""
    names = sorted(name for name, value in after.items() if before[name] != value)
    details: dict[str, Any] = {"changed": names}
    if "community_id" in names:
        details["community_id"] = {"from": before["community_id"], "to": after["community_id"]}
    return details


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The database, the record and the clock of a service."""

    db: Any
    audit: AuditLog
    now: Callable[[], datetime]
    idempotency: Idempotency

    async def write(self, entry: Entry, *calls: Any) -> None:
        """Run all statements and add the entry to the record, in one transaction.

        Raises what the database raises: `Duplicate`, `Stale`, `Unavailable`.
        """
        await self.db.batch(*calls, self.db.audit_log.insert(**self.audit.values(entry)))
        say(entry)
