"""No list reads a table from end to end, whoever asks, however it is filtered or continued: every statement is explained."""

import json
import re
import sqlite3

import asyncpg
import pytest

from services.access.audit import REQUEST_ID

LISTS = [
    *("/api/v1/workflows", "/api/v1/workflows?pack_ref=guarded&enabled=true", "/api/v1/workflows?tags=a,b"),
    *(
        "/api/v1/workflows?sort_by=label",
        "/api/v1/workflows?sort_by=ref&sort_order=asc",
        "/api/v1/workflows?sort_by=updated",
    ),
    *("/api/v1/packs", "/api/v1/packs/guarded", "/api/v1/packs/guarded/workflows", "/api/v1/packs/guarded/permissions"),
    *(
        "/api/v1/workflows/{flow}/versions",
        "/api/v1/workflows/{flow}/permissions",
        "/api/v1/workflows/{flow}/executions",
    ),
    *(
        "/api/v1/workflows/{flow}/executions?status=running",
        "/api/v1/workflows/{flow}/executions?sort_by=execution_time",
    ),
    *("/api/v1/api-keys", "/api/v1/inquiries", "/api/v1/inquiries?status=answered", "/api/v1/watches"),
    *("/api/v1/runs", "/api/v1/workflows/{flow}/runs", "/api/v1/signals", "/api/v1/actions"),
]
FOR_ADMINS = [
    *(
        "/api/v1/users",
        "/api/v1/api-keys?everyone=true",
        "/api/v1/api-keys?user_id=2",
        "/api/v1/audit",
        "/api/v1/audit?actor=2",
    ),
    *(
        "/api/v1/audit?workflow_id={flow}",
        "/api/v1/audit?action=create_workflow",
        "/api/v1/audit?category=AUTHZ&result=DENIED",
    ),
    *("/api/v1/audit?since=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z", "/api/v1/audit/verify"),
]
NAMED = re.compile(r'\b(?:FROM|JOIN)\s+"?(\w+)"?(?:\s+(?:AS\s+)?(?!WHERE|ORDER|JOIN|ON|LIMIT|GROUP|LEFT|AS)"?(\w+)"?)?')
PAGES = ("per_page=1", "per_page=1&page=2")
OTHER_PAGES = {
    "/api/v1/workflows/{flow}/permissions": ("",),
    "/api/v1/workflows/{flow}/runs": ("limit=1", "limit=1&page=2"),
    "/api/v1/signals": ("limit=1",),
}
"""Lists that have no pages, or say otherwise how long they are."""
SMALL = {
    "pack",
    "action",
    "user_role",
    "run_count",
    "audit_anchor",
    "retention_consent",
    "dispatch_pause",
    "schema_migration",
}
"""Tables with a handful of rows."""


@pytest.fixture
def environ() -> dict[str, str]:
    """Many requests a minute."""
    return {"RATE_LIMIT_PER_MINUTE": "0"}


@pytest.fixture
def heard(here, monkeypatch):
    """Every statement that is read while a test listens: text and values."""
    found, plain = {}, here.db.run

    async def run(call):
        if not call.statement.write and REQUEST_ID.get() != "-":
            sql, values = call.bound()
            found[sql] = values
        return await plain(call)

    monkeypatch.setattr(here.db, "run", run)
    return found


async def explained(settings, statements) -> dict[str, list[str]]:
    """Which tables each statement reads from end to end."""
    if settings.postgres_dsn:
        return await _explained_by_postgres(settings.postgres_dsn, statements)
    connection = sqlite3.connect(settings.data_dir / "millrace.db")
    try:
        plans = {
            sql: connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
            for sql, values in statements.items()
        }
    finally:
        connection.close()
    return {sql: _scanned(sql, [row[3] for row in plan]) for sql, plan in plans.items()}


def _scanned(sql: str, steps: list[str]) -> list[str]:
    """The tables that SQLite reads from end to end; what is read of a subquery was read by its own steps."""
    named = {alias or table: table for table, alias in NAMED.findall(sql)}
    inner = {step.split()[1] for step in steps if step.startswith(("CO-ROUTINE", "MATERIALIZE"))}
    scans = [step.split()[1] for step in steps if step.startswith("SCAN ") and "INDEX" not in step]
    return [named[name] for name in scans if name in named and name not in inner]


async def _explained_by_postgres(dsn, statements) -> dict[str, list[str]]:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET enable_seqscan = off")
        plans = {}
        for sql, values in statements.items():
            plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values))
            plans[sql] = [node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if node["Node Type"] == "Seq Scan"]
    finally:
        await connection.close()
    return plans


def _nodes(plan):
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


async def test_no_list_reads_a_table_from_end_to_end(world, client, settings, heard):
    flow = world.things["workflow_id"]
    for person, lists in (("owner", LISTS), ("viewer", LISTS[:5]), ("admin", [*LISTS, *FOR_ADMINS])):
        for path in lists:
            pages = OTHER_PAGES.get(path, PAGES)
            await read_on(client, path.replace("{flow}", flow), pages, world.people[person])

    plans = await explained(settings, dict(heard))

    assert len(plans) > 40
    scanned = {sql: [table for table in tables if not SMALL & set(table.split())] for sql, tables in plans.items()}
    assert [f"{tables} {sql[:2000]}" for sql, tables in scanned.items() if tables] == []


async def read_on(client, path: str, pages, headers) -> None:
    """A list, its second page, and how it goes on behind the first."""
    more = "&" if "?" in path else "?"
    for part in pages:
        answer = await client.get(f"{path}{more}{part}", headers=headers)
        found = await answer.get_json()
        assert answer.status_code == 200, (path, found)
    cursor = found.get("meta", {}).get("pagination", {}).get("next_cursor")
    if cursor:
        assert (await client.get(f"{path}{more}per_page=1&cursor={cursor}", headers=headers)).status_code == 200
