"""The lists walk indexes: no statement scans or sorts a table, whoever asks and however deep."""

import itertools
import json

import pytest

from models.dal import AsyncDAL
from models.records import uuid7
from models.workflow_lists import Filters, Viewer, Window, count_sql, page_sql
from models.workflows import BY_NAME, LABELLED, PACKAGED
from tests.integration.registry.conftest import create

EVERYBODY = Viewer(user_id=None)
BOB = Viewer(user_id=3, roles=frozenset({(7, "editor"), (8, "viewer")}))
CASES = [
    pytest.param(EVERYBODY, Filters(), Window(), id="admin"),
    pytest.param(EVERYBODY, Filters(), Window(after=(uuid7(),)), id="admin, continued"),
    pytest.param(EVERYBODY, Filters(pack_ref="slack"), Window(), id="admin, one pack"),
    pytest.param(EVERYBODY, Filters(tags=("a", "b")), Window(after=(uuid7(),)), id="admin, tags, continued"),
    pytest.param(EVERYBODY, Filters(), Window(sort_by="ref", descending=False), id="admin by ref"),
    pytest.param(EVERYBODY, Filters(), Window(sort_by="label", after=("x", uuid7())), id="admin by label, continued"),
    pytest.param(BOB, Filters(), Window(), id="grants"),
    pytest.param(BOB, Filters(enabled=True), Window(after=(uuid7(),)), id="grants, enabled, continued"),
    pytest.param(BOB, Filters(tags=("a",)), Window(), id="grants, tag"),
]
TABLE_SCANS = ("SCAN w", "SCAN t", "SCAN p", "SCAN v")


async def fill(db: AsyncDAL, count: int) -> None:
    """Many workflows, of which user 3 sees a handful."""
    names = itertools.count()
    template = dict(await db(db.workflow).select(limit=1).first())
    version = dict(await db(db.workflow_version).select(limit=1).first())
    calls = []
    for _ in range(count):
        number = next(names)
        row = template | {
            "id": uuid7(),
            "ref": f"slack.bulk{number}",
            "package_id": f"bulk{number}-1.0.0",
            "name": f"bulk{number}",
            "label": f"Label {number % 50}",
            "search": f"slack.bulk{number}",
            "owner_id": 3 if number % 1000 == 0 else 1,
        }
        calls.append(db.workflow.insert(**row))
        revision = version | {"id": uuid7(), "workflow_id": row["id"], "package_id": row["package_id"]}
        calls.append(db.workflow_version.insert(**revision))
        calls.append(db.workflow_tag.insert(tag="a" if number % 100 == 0 else "z", workflow_id=row["id"]))
    for start in range(0, len(calls), 500):
        await db.batch(*calls[start : start + 500])


async def plan(db: AsyncDAL, text: str, values: dict, *, forced: bool = False) -> str:
    """How a statement is carried out; `forced`: how it would be if the table were too large to be scanned."""
    if db.engine == "sqlite":
        rows = await db.sql(f"EXPLAIN QUERY PLAN {text}", **values)
        return "\n".join(row["detail"] for row in rows)
    async with db.transaction():
        if forced:
            await db.sql("SET LOCAL enable_seqscan = off")
        rows = await db.sql(f"EXPLAIN (FORMAT JSON) {text}", **values)
    found = rows[0]["QUERY PLAN"]
    return json.dumps(json.loads(found) if isinstance(found, str) else found)


@pytest.fixture
async def filled(registry, db):
    await create(registry)
    await fill(db, 3000)
    if db.engine == "postgres":
        await db.sql("ANALYZE workflow")
        await db.sql("ANALYZE workflow_tag")
        await db.sql("ANALYZE workflow_version")
    return db


async def test_every_page_is_read_along_an_index(filled):
    for case in CASES:
        viewer, filters, window = case.values
        text, values = page_sql(viewer, filters, window)
        shown = await plan(filled, text, values)
        assert_walks(filled.engine, shown, case.id)


async def test_every_count_is_read_along_an_index(filled):
    for case in CASES:
        viewer, filters, _ = case.values
        if viewer.user_id is None and not filters.tags:
            continue  # known from the packs' own counters
        text, values = count_sql(viewer, filters, 10_001)
        assert_walks(filled.engine, await plan(filled, text, values, forced=True), case.id)


async def test_names_are_found_by_index(filled):
    some = uuid7()
    for text, values in (
        (BY_NAME, {"name": "slack.bulk7"}),
        (LABELLED, {"workflow_id": some, "label": "1.0.0"}),
        (PACKAGED, {"package_id": "bulk7-1.0.0"}),
    ):
        assert_walks(filled.engine, await plan(filled, text, values), text)


def assert_walks(engine: str, shown: str, case: str) -> None:
    """No table of the registry is read from end to end."""
    if engine == "postgres":
        assert not seq_scans(shown) & {"workflow", "workflow_tag", "workflow_version"}, f"{case}: {shown}"
        return
    scans = [line for line in shown.splitlines() if line.startswith(TABLE_SCANS) and "INDEX" not in line]
    assert not scans, f"{case}: {shown}"


def seq_scans(shown: str) -> set[str]:
    """The relations that a PostgreSQL plan scans from end to end."""
    found = set()

    def walk(node: dict) -> None:
        if node.get("Node Type") == "Seq Scan":
            found.add(node["Relation Name"])
        for inner in node.get("Plans", ()):
            walk(inner)

    walk(json.loads(shown)[0]["Plan"])
    return found
