"""The audit record: rows go in unchained, one sealer chains them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.dal import AsyncDAL, Call, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What an entry must be to be listed; everything given must hold."""

    actor_id: int | None = None
    action: str | None = None
    category: str | None = None
    result: str | None = None
    workflow_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def of_refusals(self) -> bool:
        """Whether only refusals can match: whatever is of the category AUDIT has succeeded."""
        return self.category not in (None, "AUDIT") or self.result in ("DENIED", "FAILURE")


def insert(db: AsyncDAL, values: dict[str, Any]) -> Call[int]:
    """Add one row."""
    call: Call[int] = db.audit_log.insert(**values)
    return call


def _query(db: AsyncDAL, wanted: AuditFilter) -> Any:
    a = db.audit_log
    query = a.at != None  # noqa: E711 - pyDAL's spelling of IS NOT NULL
    equal = {"actor_id": a.actor_id, "action": a.action, "category": a.category, "result": a.result}
    for name, column in {**equal, "workflow_id": a.workflow_id}.items():
        value = getattr(wanted, name)
        if value is not None:
            query &= column == value
    if wanted.of_refusals:
        query &= a.category != "AUDIT"
    if wanted.since is not None:
        query &= a.at >= wanted.since
    if wanted.until is not None:
        query &= a.at < wanted.until
    return query


async def page(
    db: AsyncDAL, wanted: AuditFilter, *, after: tuple[datetime, UUID] | None, limit: int, offset: int = 0
) -> list[Row]:
    """Entries, newest first."""
    a = db.audit_log
    query = _query(db, wanted)
    if after is not None:
        query &= db.before(a.at | a.id, after)
    rows: list[Row] = await db(query).select(orderby=~a.at | ~a.id, limit=limit, offset=offset)
    return rows


async def onward(db: AsyncDAL, wanted: AuditFilter, *, after: tuple[datetime, UUID] | None, limit: int) -> list[Row]:
    """Entries, oldest first, behind a sort key (time, id)."""
    a = db.audit_log
    query = _query(db, wanted)
    if after is not None:
        query &= db.after(a.at | a.id, after)
    rows: list[Row] = await db(query).select(orderby=a.at | a.id, limit=limit)
    return rows


async def count(db: AsyncDAL, wanted: AuditFilter, *, cap: int) -> int:
    """How many entries match, at most `cap`."""
    conditions = [
        f"{column} {sign} :{name}" for name, (column, sign) in _COLUMNS.items() if getattr(wanted, name) is not None
    ]
    if wanted.of_refusals:
        conditions.append("category <> 'AUDIT'")
    where = " AND ".join(conditions) or "1 = 1"
    text = f"SELECT count(*) AS n FROM (SELECT 1 FROM audit_log WHERE {where} LIMIT :cap) AS found"
    values = {name: getattr(wanted, name) for name in _COLUMNS if getattr(wanted, name) is not None}
    return int(await db.sql(text, cap=cap, **values).scalar())


_COLUMNS = {
    "actor_id": ("actor_id", "="),
    "action": ("action", "="),
    "category": ("category", "="),
    "result": ("result", "="),
    "workflow_id": ("workflow_id", "="),
    "since": ("at", ">="),
    "until": ("at", "<"),
}


# ---- the chain -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in the chain that is known independently of its rows."""

    chain_no: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The chain in one moment. `head`, its end, and `floor`, where retention has cut its beginning, are kept apart from
    its rows, whose numbers go from `lowest` to `highest`."""

    unsealed: int
    lowest: int | None
    highest: int | None
    head: Anchor | None
    floor: Anchor | None


ENDS = """SELECT (SELECT count(*) FROM audit_log WHERE chain_no IS NULL) AS unsealed,
  (SELECT min(chain_no) FROM audit_log) AS lowest, (SELECT max(chain_no) FROM audit_log) AS highest,
  (SELECT chain_no FROM audit_anchor WHERE name = 'head') AS head_no,
  (SELECT hash FROM audit_anchor WHERE name = 'head') AS head_hash,
  (SELECT chain_no FROM audit_anchor WHERE name = 'floor') AS floor_no,
  (SELECT hash FROM audit_anchor WHERE name = 'floor') AS floor_hash"""


async def ends(db: AsyncDAL) -> Ends:
    """Where the chain begins and ends, and how many rows wait for the sealer."""
    [row] = await db.sql(ENDS)
    head, floor = (
        None if row[f"{name}_no"] is None else Anchor(row[f"{name}_no"], row[f"{name}_hash"])
        for name in ("head", "floor")
    )
    return Ends(unsealed=row["unsealed"], lowest=row["lowest"], highest=row["highest"], head=head, floor=floor)


async def last_before(db: AsyncDAL, before: datetime) -> Anchor | None:
    """The last sealed row of the beginning of the chain that is older than `before`."""
    a = db.audit_log
    sealed = a.chain_no != None  # noqa: E711 - pyDAL's spelling of IS NOT NULL
    first_kept = await db(sealed & (a.at >= before)).select(a.chain_no, orderby=a.chain_no, limit=1).first()
    query = sealed if first_kept is None else a.chain_no < first_kept.chain_no
    row = await db(query).select(a.chain_no, a.hash, orderby=~a.chain_no, limit=1).first()
    return Anchor(row.chain_no, row.hash) if row else None


async def cut(db: AsyncDAL, floor: Anchor) -> int:
    """Delete the chain up to and including `floor`, which stays known; how many rows went."""
    table, a = db.audit_anchor, db.audit_log
    done = await db.batch(
        table.upsert(table.name, name="floor", chain_no=floor.chain_no, hash=floor.hash),
        db(a.chain_no <= floor.chain_no).delete(),
    )
    return int(done[1])
