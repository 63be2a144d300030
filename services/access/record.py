"""Reading the audit record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import models.audit
from models.audit import AuditFilter
from models.dal import AsyncDAL, Row

COUNT_CAP = 10_000
PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """A page of the record. `capped`: there are at least `total`; `next_key`: where the next page begins."""

    rows: Sequence[Row]
    total: int
    capped: bool
    next_key: tuple[Any, ...] | None


class AuditRecord:
    """What was asked, decided and done, newest first."""

    def __init__(self, db: AsyncDAL) -> None:
        self._db = db

    async def page(
        self, wanted: AuditFilter, after: tuple[Any, ...] | None = None, *, limit: int, offset: int = 0
    ) -> AuditPage:
        """One page. `after`: the sort key (time, id) of the last entry seen."""
        rows = await models.audit.page(self._db, wanted, after=after, limit=limit + 1, offset=offset)
        total = await models.audit.count(self._db, wanted, cap=COUNT_CAP + 1)
        shown = rows[:limit]
        more = (shown[-1].at, shown[-1].id) if len(rows) > limit else None
        return AuditPage(rows=shown, total=min(total, COUNT_CAP), capped=total > COUNT_CAP, next_key=more)

    async def all(self, wanted: AuditFilter) -> AsyncIterator[Sequence[Row]]:
        """Every entry, oldest first, in pages; memory does not grow with their number."""
        after = None
        while rows := await models.audit.onward(self._db, wanted, after=after, limit=PAGE):
            yield rows
            after = (rows[-1].at, rows[-1].id)
            if len(rows) < PAGE:
                return
