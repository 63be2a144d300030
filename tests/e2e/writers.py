"""Writers over HTTP who create, change with ETags and delete the same refs of real servers at the same time.

python -m tests.e2e.writers [--engine sqlite|postgres] [--seconds 30] [--writers 32] [--seed 1]

PostgreSQL is written through two servers. Every change adds one to a number in the definition it has read, so a lost
update, an update nobody made and a gap between revisions all show in what the database holds in the end. One line of
JSON says what happened; the exit status is 1 when a rule was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from models.dal import AsyncDAL, Options, sqlite_url
from models.schema import declare
from tests.support.postgres_cluster import PostgresCluster
from tests.support.server import Server, running

REFS = [f"default.shared_{number}" for number in range(4)]
PATH = "/api/v1/workflows"
LIMIT_S = 60.0
EXPECTED = {"create": {201, 409}, "update": {200, 404, 412}, "delete": {200, 404, 412}}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much, for how long: until the time is up, or so many answers have come."""

    engine: str = "sqlite"
    seconds: float = 30.0
    answers: int = sys.maxsize
    writers: int = 32
    seed: int = 1


@dataclass
class Tally:
    """What the servers said. `updates`: accepted changes by workflow id."""

    answers: Counter[str] = field(default_factory=Counter)
    created: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    updates: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def heard(self, what: str, answer: httpx.Response) -> None:
        """Count an answer; one that may never come is a broken rule."""
        self.answers[f"{what} {answer.status_code}"] += 1
        if answer.status_code not in EXPECTED[what]:
            self.broken.append(f"{what} answered {answer.status_code}: {answer.text[:300]}")


def definition(number: int) -> dict[str, Any]:
    """A definition that carries a number."""
    return {"vars": {"number": number}, "tasks": [{"name": "only", "action": "core.noop"}]}


class Writer:
    """One client: does what chance says until time is up."""

    def __init__(self, client: httpx.AsyncClient, tally: Tally, chance: random.Random) -> None:
        self._client, self._tally, self._chance = client, tally, chance

    async def write(self, until: float, answers: int) -> None:
        """Create, change and delete."""
        while time.monotonic() < until and self._tally.answers.total() < answers:
            ref = self._chance.choice(REFS)
            match self._chance.choices(("create", "update", "delete"), (2, 6, 1))[0]:
                case "create":
                    await self._create(ref)
                case "update":
                    await self._update(ref)
                case "delete":
                    await self._delete(ref)

    async def _create(self, ref: str) -> None:
        body = {"ref": ref, "pack_ref": "default", "label": ref, "version": "1", "definition": definition(0)}
        answer = await self._client.post(PATH, json=body)
        self._tally.heard("create", answer)
        if answer.status_code == 201:
            self._tally.created.add(answer.json()["data"]["id"])

    async def _read(self, ref: str) -> tuple[dict[str, Any], dict[str, str]] | None:
        answer = await self._client.get(f"{PATH}/{ref}")
        if answer.status_code == 404:
            return None
        return answer.raise_for_status().json()["data"], {"If-Match": answer.headers["ETag"]}

    async def _update(self, ref: str) -> None:
        if (read := await self._read(ref)) is None:
            return
        seen, headers = read
        number = seen["definition"]["vars"]["number"] + 1
        answer = await self._client.put(f"{PATH}/{ref}", json={"definition": definition(number)}, headers=headers)
        self._tally.heard("update", answer)
        if answer.status_code == 200:
            made = answer.json()["data"]
            self._tally.updates[made["id"]] += 1
            if (made["id"], made["revision"]) != (seen["id"], seen["revision"] + 1):
                self._tally.broken.append(
                    f"{seen['id']} revision {seen['revision']} became {made['id']} {made['revision']}"
                )

    async def _delete(self, ref: str) -> None:
        if (read := await self._read(ref)) is None:
            return
        answer = await self._client.delete(f"{PATH}/{ref}", headers=read[1])
        self._tally.heard("delete", answer)
        if answer.status_code == 200:
            self._tally.deleted.add(read[0]["id"])


async def watch(client: httpx.AsyncClient, tally: Tally, until: float, answers: int) -> None:
    """Somebody who reads the list all the time, and notes a ref that is in it twice."""
    while time.monotonic() < until and tally.answers.total() < answers:
        answer = await client.get(PATH, params={"search": "shared_", "per_page": 100, "sort_by": "ref"})
        listed = Counter(row["ref"] for row in answer.raise_for_status().json()["data"])
        tally.broken += [f"{ref} was in the list {n} times" for ref, n in listed.items() if n > 1]
        tally.answers["list 200"] += 1


async def write(urls: Sequence[str], key: str, plan: Plan) -> Tally:
    """Let everybody write, each at one of the servers."""
    tally = Tally()
    async with Clients(urls, key) as clients, asyncio.TaskGroup() as group:
        until = time.monotonic() + plan.seconds
        for number in range(plan.writers):
            writer = Writer(clients[number % len(clients)], tally, random.Random(f"{plan.seed}.{number}"))
            group.create_task(writer.write(until, plan.answers))
        for client in clients:
            group.create_task(watch(client, tally, until, plan.answers))
    return tally


class Clients:
    """A client for every server."""

    def __init__(self, urls: Sequence[str], key: str) -> None:
        limits = httpx.Limits(max_connections=None)
        self._clients = [
            httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=LIMIT_S, limits=limits) for url in urls
        ]

    async def __aenter__(self) -> list[httpx.AsyncClient]:
        return self._clients

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.aclose()


async def judge(url: str, tally: Tally) -> list[str]:
    """What the database holds against what the servers said; every broken rule in words."""
    async with declare(AsyncDAL(url, Options())) as db:
        rows = [row for row in await db(db.workflow).select() if row["ref"] in REFS]
        revisions = defaultdict(list)
        for row in await db(db.workflow_version).select(orderby=db.workflow_version.revision):
            revisions[row["workflow_id"]].append((row["revision"], row["id"], json.loads(row["definition"])))
        pack = await db(db.pack.ref == "default").select().first()
    broken = list(tally.broken)
    for row in rows:
        broken += _broken(row, revisions[row["id"]], tally)
    living = [row for row in rows if row["deleted_at"] is None]
    broken += [f"{ref} is {n} workflows" for ref, n in Counter(row["ref"] for row in living).items() if n > 1]
    if {str(row["id"]) for row in rows} != tally.created:
        broken.append(f"{len(rows)} workflows are there, {len(tally.created)} were said to be made")
    if {str(row["id"]) for row in rows} - {str(row["id"]) for row in living} != tally.deleted:
        broken.append("other workflows are gone than were said to be deleted")
    if pack["workflow_count"] != len(living):
        broken.append(f"the pack counts {pack['workflow_count']} workflows, {len(living)} are there")
    return broken


def _broken(row: Any, revisions: list[tuple[int, Any, Any]], tally: Tally) -> Iterator[str]:
    numbers = [number for number, _, _ in revisions]
    if numbers != list(range(1, row["revision"] + 1)) or revisions[-1][1] != row["version_id"]:
        yield f"{row['id']} has revisions {numbers}, its newest is {row['revision']}"
    if [content["vars"]["number"] for _, _, content in revisions] != list(range(len(revisions))):
        yield f"{row['id']} lost an update"
    if tally.updates[str(row["id"])] != len(revisions) - 1:
        yield f"{row['id']} has {len(revisions) - 1} updates, {tally.updates[str(row['id'])]} were accepted"


@contextmanager
def servers(plan: Plan, folder: Path, dsn: str | None) -> Iterator[list[Server]]:
    """One server on SQLite, two on PostgreSQL."""
    with ExitStack() as stack:
        if dsn is None:
            yield [stack.enter_context(running(folder / "data"))]
            return
        environ = {"POSTGRES_DSN": dsn}
        yield [stack.enter_context(running(folder / f"data{number}", environ)) for number in range(2)]


def run(plan: Plan, folder: Path, dsn: str | None) -> tuple[Tally, list[str]]:
    """Start servers, let everybody write, judge; what happened and which rules were broken."""
    with servers(plan, folder, dsn) as found:
        tally = asyncio.run(write([server.url for server in found], found[0].key, plan))
    return tally, asyncio.run(judge(dsn or sqlite_url(folder / "data" / "millrace.db"), tally))


def main() -> int:
    """Run it; 1 when a rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("sqlite", "postgres"), action="append")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--writers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    broken = False
    for engine in asked.engine or ("sqlite", "postgres"):
        plan = Plan(engine=engine, seconds=asked.seconds, writers=asked.writers, seed=asked.seed)
        cluster = PostgresCluster() if engine == "postgres" else None
        try:
            with tempfile.TemporaryDirectory(prefix="millrace-writers-") as folder:
                tally, found = run(plan, Path(folder), cluster.dsn() if cluster else None)
        finally:
            if cluster:
                cluster.stop()
        said = {"engine": engine, "seconds": plan.seconds, "answers": dict(sorted(tally.answers.items()))}
        print(json.dumps({**said, "workflows": len(tally.created), "broken": found}))
        broken = broken or bool(found)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
