"""Executions of mixed shapes while processes are killed and frozen, PostgreSQL restarted and connections cut.

`python -m tests.crash.storm --seed 7 --seconds 600 --executions 2000 --engine postgres` repeats a run: the same seed
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

from tests.crash.callee import Callee
from tests.crash.fleet import HEADERS, Fleet, Process
from tests.crash.shapes import SHAPES, definitions
from tests.support.postgres_cluster import PostgresCluster

FREEZE_S = 4.5
"""Longer than a lease."""
AFTERMATH_S = 10.0
"""How long after a disturbance somebody may still notice that a lease was lost."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a storm is. `leave_open`: of how many inquiries one is never answered."""

    seed: int
    seconds: float
    executions: int
    pause_s: tuple[float, float] = (1.0, 3.0)
    settle_s: float = 180.0
    leave_open: int = 10


@dataclass
class Disturbance:
    """What was done, from when to when (monotonic seconds)."""

    kind: str
    began: float
    ended: float = 0.0


class Store:
    """Reads the database from outside, on either engine."""

    def __init__(self, dsn: str | None, path: Path) -> None:
        self.dsn, self.path = dsn, path

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query; the database may be away for a while."""
        until = time.monotonic() + 60
        while True:
            try:
                return await (self._postgres(sql) if self.dsn else asyncio.to_thread(self._sqlite, sql))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def _postgres(self, sql: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.dsn, timeout=5)
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
        self.client = httpx.AsyncClient(headers=HEADERS, timeout=20)

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
            with suppress(TimeoutError):
                async with asyncio.timeout(self.plan.settle_s):
                    while await self.unended():
                        await asyncio.sleep(0.3)
            self.over = True
        await self._look_at_journal()

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

    def disturbed_between(self, first: float, second: float) -> bool:
        """Whether something happened that explains why a call was made again."""
        return any(mark.began <= second and (mark.ended or second) + AFTERMATH_S >= first for mark in self.disturbances)


async def verdict(storm: Storm) -> tuple[list[str], dict[str, Any]]:
    """What went wrong, and the counts."""
    rows = await storm.store.rows("SELECT execution_id, status, ended_at, error_type FROM workflow_executions")
    runs = await storm.store.rows("SELECT run_id FROM workflow_runs WHERE source = 'engine'")
    by_id = {str(row[0]): row for row in rows}
    statuses = Counter(row[1] if row[2] is not None else "waiting" for row in rows)
    history = Counter(str(row[0]) for row in runs)
    problems = [f"{id_} was accepted and is gone" for id_ in storm.accepted.values() if id_ not in by_id]
    problems += [f"{id_} did not end" for id_ in await storm.unended()]
    problems += [f"{id_} is {row[1]} ({row[3]})" for id_, row in by_id.items() if row[1] in ("failed", "cancelled")]
    problems += [f"row {place} changed" for place in storm.changed]
    problems += _gaps(storm)
    ended = {id_ for id_, row in by_id.items() if row[2] is not None}
    problems += [
        f"history has {id_} {history[id_]} times" for id_ in ended | history.keys() if history[id_] != (id_ in ended)
    ]
    if len(set(storm.accepted.values())) != storm.plan.executions:
        problems.append(
            f"{len(set(storm.accepted.values()))} of {storm.plan.executions} starts have an execution of their own"
        )
    repeated, more = _repetitions(storm)
    problems += more
    audit = (await storm.client.get(f"{storm.server.url}/api/v1/audit/verify")).json()["data"]
    if not audit["intact"]:
        problems.append(f"the audit chain is broken: {audit['reason']}")
    marks = Counter(mark.kind for mark in storm.disturbances)
    counts = {
        "seed": storm.plan.seed,
        "executions": dict(statuses),
        "rows": len(storm.journal),
        "calls": storm.callee.total,
        "repeated": repeated,
        "answered": storm.answered,
        "disturbances": dict(sorted(marks.items())),
        "problems": len(problems),
    }
    return problems, counts


def _gaps(storm: Storm) -> list[str]:
    numbers: dict[str, list[int]] = {}
    for id_, seq in storm.journal:
        numbers.setdefault(id_, []).append(seq)
    return [f"the log of {id_} has a gap" for id_, seqs in numbers.items() if sorted(seqs) != list(range(len(seqs)))]


def _repetitions(storm: Storm) -> tuple[int, list[str]]:
    """Calls that were made again: never of what cannot be undone, always with the same body, only around a disturbance."""
    repeated, problems = 0, []
    for key, seen in storm.callee.calls.items():
        path = seen[0].path
        usual = 2 if path == "/flaky" else 1
        repeated += max(0, len(seen) - usual)
        if len({call.body for call in seen}) != 1:
            problems.append(f"{key} was called with another body")
        if path == "/once" and len(seen) > 1:
            problems.append(f"{key} cannot be undone and was called {len(seen)} times")
        pairs = zip(seen[usual - 1 :], seen[usual:], strict=False)
        problems += [
            f"{key} was called again for no reason" for a, b in pairs if not storm.disturbed_between(a.at, b.at)
        ]
    return repeated, problems
