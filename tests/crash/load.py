"""A steady load of starts on a real server that may refuse them: each is asked again, with its key, until it is accepted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.crash.callee import Callee
from tests.crash.fleet import HEADERS, Process
from tests.crash.shapes import definitions

SHAPES = ("chain", "fan", "loop", "retry", "parent")
PACE_S = 0.05


class Load:
    """Starts executions one after the other on four lines, until `stop`. `accepted`: number → execution."""

    def __init__(self, server: Process, callee: Callee) -> None:
        self.server = server
        self.callee = callee
        self.accepted: dict[int, str] = {}
        self.refusals: list[httpx.Response] = []
        self.answers: Counter[int] = Counter()
        self.client = httpx.AsyncClient(headers=HEADERS, timeout=40)
        self._next = 0
        self._over = False
        self._lines: list[asyncio.Future[None]] = []

    async def begin(self) -> None:
        """Register the workflows and go."""
        await self.register()
        self._lines = [asyncio.ensure_future(self._line()) for _ in range(4)]

    async def register(self) -> None:
        """Make the workflows known."""
        for name, definition in definitions(self.callee.url).items():
            body = {"ref": f"default.{name}", "pack_ref": "default", "label": name, "version": "1"}
            answer = await self.client.post(
                f"{self.server.url}/api/v1/workflows", json={**body, "definition": definition}
            )
            assert answer.status_code == 201, answer.text

    async def _line(self) -> None:
        while not self._over:
            n, self._next = self._next, self._next + 1
            await self._start(n)
            await asyncio.sleep(PACE_S)

    async def _start(self, n: int) -> None:
        path = f"/api/v1/workflows/default.{SHAPES[n % len(SHAPES)]}/execute"
        while True:
            try:
                answer = await self.client.post(
                    self.server.url + path, json={"variables": {"n": n}}, headers={"Idempotency-Key": f"start-{n}"}
                )
            except httpx.HTTPError:
                await asyncio.sleep(PACE_S)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == 202:
                self.accepted[n] = answer.json()["data"]["execution_id"]
                return
            self.refusals.append(answer)
            await asyncio.sleep(PACE_S)

    async def more(self, count: int) -> None:
        """Until so many more have been accepted."""
        wanted = len(self.accepted) + count
        await until(lambda: len(self.accepted) >= wanted)

    async def refused(self, count: int, message: str) -> None:
        """Until so many have been refused in these words."""
        await until(lambda: sum(message in answer.text for answer in self.refusals) >= count)

    async def stop(self) -> None:
        """Start nothing more; what was asked for is asked for until it is accepted."""
        self._over = True
        await asyncio.gather(*self._lines)

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """What `/ready` says."""
        answer = await self.client.get(f"{self.server.url}/ready")
        return answer.status_code, answer.json()["checks"]

    async def until_ready(self) -> None:
        """Until the server says that it can take work."""

        async def is_ready() -> bool:
            try:
                return (await self.ready())[0] == 200
            except httpx.HTTPError:
                return False

        await until(is_ready)

    async def until_all_ended(self) -> dict[str, str]:
        """The status of every accepted execution, once all have ended."""
        statuses: dict[str, str] = {}

        async def are_over() -> bool:
            for execution in set(self.accepted.values()) - statuses.keys():
                answer = await self.client.get(f"{self.server.url}/api/v1/workflows/executions/{execution}")
                data = answer.json()["data"]
                if data["end_time"] is None:
                    return False
                statuses[execution] = data["status"]
            return True

        await until(are_over)
        return statuses

    def problems(self) -> list[str]:
        """What was done twice, or to nobody: calls with other bodies, two executions of one start, bad refusals."""
        found = [f"{key} was called with another body" for key, seen in self.callee.calls.items() if _differs(seen)]
        if len(set(self.accepted.values())) != len(self.accepted):
            found.append("two starts have the same execution")
        found += [
            f"{answer.status_code} {answer.text}"
            for answer in self.refusals
            if answer.status_code != 503 or int(answer.headers.get("Retry-After", "0")) < 1
        ]
        return found


def _differs(seen: list[Any]) -> bool:
    return len({call.body for call in seen}) != 1


async def until(condition: Callable[[], bool | Awaitable[bool]], limit_s: float = 150.0) -> None:
    """Until it is so; the limit only ends a test that would never end."""
    async with asyncio.timeout(limit_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)
