"""Executions of mixed shapes while processes are killed and frozen, PostgreSQL restarted and connections cut.

`python -m tests.crash --seed 7 --seconds 600 --executions 2000 --engine postgres` repeats a run: the same seed
chooses the same disturbances at the same moments. The last line of its output is a summary; it ends with 1 when
something was lost, doubled or changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from models.dal.postgres_errors import DRIVER_ERRORS
from tests.crash.callee import Callee
from tests.crash.fleet import HEADERS, Fleet, Process
from tests.crash.shapes import SHAPES, definitions
from tests.crash.verdict import Disturbance, Entry, Evidence, Row, problems, repeated
from tests.support.postgres_cluster import PostgresCluster

FREEZE_S = 4.5
"""Longer than a lease."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a storm is. `settle_s`: how long nothing at all may happen afterwards before we look at what is there;
    `leave_open`: of how many inquiries one is never answered."""

    seed: int
    seconds: float
    executions: int
    pause_s: tuple[float, float] = (1.0, 3.0)
    settle_s: float = 120.0
    leave_open: int = 10


COUNTERS = {
    "total_runs": "SELECT package_id, total_runs FROM workflow WHERE total_runs > 0",
    "run_count": "SELECT wpk_id, CAST(sum(runs) AS bigint) FROM run_count GROUP BY wpk_id",
    "workflow_daily": "SELECT wpk_id, CAST(sum(runs) AS bigint) FROM workflow_daily GROUP BY wpk_id",
}
"""What counts the runs of each workflow."""


class Store:
    """Reads the database from outside, on either engine."""

    def __init__(self, dsn: str | None, path: Path) -> None:
        self.dsn, self.path = dsn, path

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query; the database may be away for a while."""
        until = time.monotonic() + 180
        while True:
            try:
                return await (self._postgres(sql) if self.dsn else asyncio.to_thread(self._sqlite, sql))
            except (*DRIVER_ERRORS, sqlite3.Error):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def _postgres(self, sql: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.dsn, timeout=20)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    def _sqlite(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


@dataclass
class Storm:
    """One run."""

    plan: Plan
    fleet: Fleet
    callee: Callee
    store: Store
    cluster: PostgresCluster | None
    server: Process
    accepted: dict[int, str] = field(default_factory=dict)
    disturbances: list[Disturbance] = field(default_factory=list)
    journal: dict[tuple[str, int], str] = field(default_factory=dict)
    changed: list[tuple[str, int]] = field(default_factory=list)
    kept_open: set[str] = field(default_factory=set)
    answered: int = 0
    over: bool = False

    def __post_init__(self) -> None:
        self.chance = random.Random(self.plan.seed)
        self.client = httpx.AsyncClient(headers=HEADERS, timeout=60)

    # ---- doing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Register, start, disturb, answer; then wait until all is over."""
        for name, definition in definitions(self.callee.url).items():
            body = {"ref": f"default.{name}", "pack_ref": "default", "label": name, "version": "1"}
            answer = await self._post("/api/v1/workflows", {**body, "definition": definition}, f"make-{name}")
            assert answer.status_code == 201, answer.text
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer_inquiries())
            tasks.create_task(self._watch_journal())
            starting = tasks.create_task(self._start_all())
            await self._disturb(until=time.monotonic() + self.plan.seconds)
            await starting
            await self._settle()
            self.over = True
        await self._look_at_journal()

    async def _settle(self) -> None:
        """Until all has ended that will, however slow the machine: it is over when nothing happens any more."""
        state, since = None, time.monotonic()
        while unended := await self.unended():
            now = len(unended), len(self.journal), self.callee.total
            if now != state:
                state, since = now, time.monotonic()
            elif time.monotonic() - since > self.plan.settle_s:
                return
            await asyncio.sleep(0.5)

    async def get(self, path: str) -> dict[str, Any]:
        """Ask until somebody answers."""
        while True:
            with suppress(httpx.HTTPError):
                answer = await self.client.get(self.server.url + path)
                if answer.status_code == 200:
                    found: dict[str, Any] = answer.json()
                    return found
            await asyncio.sleep(0.2)

    async def _post(self, path: str, body: dict[str, Any], key: str) -> httpx.Response:
        """Ask until somebody answers."""
        while True:
            try:
                headers = {"Idempotency-Key": f"{self.plan.seed}-{key}"}
                answer = await self.client.post(self.server.url + path, json=body, headers=headers)
                if answer.status_code < 500 and answer.status_code != 429:
                    return answer
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)

    async def _start_all(self) -> None:
        numbers = iter(range(self.plan.executions))
        pace_s = 4 * 0.8 * self.plan.seconds / self.plan.executions  # spread over the storm, four at a time

        async def starter() -> None:
            for n in numbers:
                shape = SHAPES[n % len(SHAPES)]
                path = f"/api/v1/workflows/default.{shape}/execute"
                answer = await self._post(path, {"variables": {"n": n}}, f"start-{n}")
                assert answer.status_code == 202, answer.text
                self.accepted[n] = answer.json()["data"]["execution_id"]
                await asyncio.sleep(pace_s)

        await asyncio.gather(*(starter() for _ in range(4)))

    async def _answer_inquiries(self) -> None:
        seen: set[str] = set()
        while not self.over:
            with suppress(httpx.HTTPError):
                found = await self.client.get(f"{self.server.url}/api/v1/inquiries", params={"per_page": 100})
                for inquiry in found.json().get("data") or []:
                    if inquiry["id"] not in seen and found.status_code == 200:
                        seen.add(inquiry["id"])
                        if len(seen) % self.plan.leave_open == 0:
                            self.kept_open.add(inquiry["execution_id"])
                    if inquiry["execution_id"] not in self.kept_open:
                        path = f"{self.server.url}/api/v1/inquiries/{inquiry['id']}/respond"
                        done = await self.client.post(path, json={"response": {"go": True}})
                        self.answered += done.status_code == 200
            await asyncio.sleep(0.5)

    # ---- disturbing -------------------------------------------------------------------------------------------------

    async def _disturb(self, *, until: float) -> None:
        deeds = self._deeds()
        kinds = sorted(deeds)
        while True:
            await asyncio.sleep(self.chance.uniform(*self.plan.pause_s))
            if time.monotonic() > until:
                return
            kind = self.chance.choice(kinds)
            mark = Disturbance(kind, time.monotonic())
            self.disturbances.append(mark)
            await deeds[kind]()
            mark.ended = time.monotonic()

    def _deeds(self) -> dict[str, Callable[[], Any]]:
        if self.cluster is None:
            return {"kill": self._kill_server, "freeze": self._freeze_server}
        return {
            "kill": self._kill_worker,
            "freeze": self._freeze_worker,
            "kill_server": self._kill_server,
            "restart_database": self._restart_database,
            "cut": self._cut,
        }

    async def _kill_worker(self) -> None:
        victim = self.chance.randrange(len(self.fleet.workers))
        self.fleet.workers.pop(victim).kill()
        await asyncio.to_thread(self.fleet.worker().wait_until_up)

    async def _freeze_worker(self) -> None:
        await self._freeze(self.chance.choice(self.fleet.workers))

    async def _freeze_server(self) -> None:
        await self._freeze(self.server)

    async def _freeze(self, process: Process) -> None:
        process.freeze()
        await asyncio.sleep(FREEZE_S)
        process.resume()

    async def _kill_server(self) -> None:
        self.server.kill()
        options = ["--no-worker"] if self.cluster else []
        self.server = await asyncio.to_thread(self.fleet.serve(*options).wait_until_up)

    async def _restart_database(self) -> None:
        assert self.cluster is not None
        await asyncio.to_thread(self.cluster.restart)

    async def _cut(self) -> None:
        await self.store.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    # ---- looking ----------------------------------------------------------------------------------------------------

    async def _watch_journal(self) -> None:
        while not self.over:
            await self._look_at_journal()
            await asyncio.sleep(2.0)

    async def _look_at_journal(self) -> None:
        """What is journaled once never changes, and never goes away."""
        found = {}
        for id_, seq, events in await self.store.rows("SELECT execution_id, seq, events FROM execution_event"):
            found[str(id_), seq] = hashlib.md5(events.encode()).hexdigest()
        self.changed += [place for place, digest in self.journal.items() if found.get(place) != digest]
        self.journal.update(found)

    async def unended(self) -> list[str]:
        """The executions that are not over and do not wait for an answer that never comes."""
        rows = await self.store.rows("SELECT execution_id FROM workflow_executions WHERE ended_at IS NULL")
        return [str(row[0]) for row in rows if str(row[0]) not in self.kept_open]


async def evidence(storm: Storm) -> Evidence:
    """What the storm has left behind, from the database and from outside."""
    store = storm.store
    rows = await store.rows(
        "SELECT execution_id, status, ended_at, parent_execution_id, error_type, epoch, waiting_for"
        " FROM workflow_executions"
    )
    log = await store.rows("SELECT execution_id, seq, events FROM execution_event")
    runs = await store.rows("SELECT run_id, wpk_id FROM workflow_runs WHERE source = 'engine'")
    counted = {counter: dict(await store.rows(sql)) for counter, sql in COUNTERS.items()}
    audited = await store.rows(
        "SELECT resource FROM audit_log WHERE action = 'execute_workflow' AND result = 'SUCCESS'"
    )
    asking = await store.rows("SELECT execution_id FROM inquiry WHERE status = 'open'")
    audit = (await storm.get("/api/v1/audit/verify"))["data"]
    return Evidence(
        starts=storm.plan.executions,
        accepted=storm.accepted,
        rows=[
            Row(
                id=str(id_),
                status=status,
                ended=ended_at is not None,
                is_child=parent is not None,
                error=error,
                epoch=epoch,
                waits_for=None if waits_for is None else str(waits_for),
            )
            for id_, status, ended_at, parent, error, epoch, waits_for in rows
        ],
        log=[Entry(execution=str(id_), seq=seq, events=events) for id_, seq, events in log],
        changed=storm.changed,
        history=[str(row[0]) for row in runs],
        runs=Counter(row[1] for row in runs),
        counted=counted,
        audited=[str(row[0]) for row in audited],
        audit_problem=None if audit["intact"] else str(audit["reason"]),
        open_inquiries=frozenset(str(row[0]) for row in asking),
        unanswered=frozenset(storm.kept_open),
        calls=storm.callee.calls,
        disturbances=storm.disturbances,
    )


async def verdict(storm: Storm) -> tuple[list[str], dict[str, Any]]:
    """What went wrong, and the counts."""
    found = await evidence(storm)
    wrong = problems(found)
    counts = {
        "seed": storm.plan.seed,
        "accepted": len(storm.accepted),
        "executions": dict(Counter(row.status if row.ended else "waiting" for row in found.rows)),
        "rows": len(found.log),
        "calls": storm.callee.total,
        "repeated": repeated(found),
        "claimed_again": sum(max(0, row.epoch - 1) for row in found.rows),
        "answered": storm.answered,
        "disturbances": dict(sorted(Counter(mark.kind for mark in storm.disturbances).items())),
        "problems": len(wrong),
    }
    return wrong, counts
