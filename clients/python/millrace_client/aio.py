"""The asynchronous client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from . import protocol
from .errors import ServerUnreachable, WaitTimeout


class AsyncClient:
    """Starts, follows and cancels executions, and records runs. Use it as an async context manager."""

    def __init__(self, base_url: str | None = None, api_key: str | None = None, **options: Any) -> None:
        """`options`: timeout_s, retries, backoff_s, max_backoff_s of `protocol.Config`."""
        self.config = protocol.Config.of(base_url, api_key, **options)
        self._http = httpx.AsyncClient(
            base_url=self.config.base_url, headers=self.config.headers(), timeout=self.config.timeout_s
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def start(self, workflow: str, variables: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Start an execution and return its record; options: metadata, community_id, wait_s, key (idempotency)."""
        started: dict[str, Any] = await self._call(protocol.start(workflow, variables, **options))
        return started

    async def get(self, execution_id: str) -> dict[str, Any]:
        """One execution."""
        found: dict[str, Any] = await self._call(protocol.get(execution_id))
        return found

    async def wait(self, execution_id: str, timeout_s: float = 300.0, poll_s: float = 0.5) -> dict[str, Any]:
        """The execution once it has ended; WaitTimeout after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = await self.get(execution_id)
            if found["status"] in protocol.ENDED:
                return found
            if time.monotonic() + poll_s > deadline:
                raise WaitTimeout(execution_id, timeout_s)
            await asyncio.sleep(poll_s)

    async def cancel(self, execution_id: str) -> dict[str, Any]:
        """Cancel an execution."""
        cancelled: dict[str, Any] = await self._call(protocol.cancel(execution_id))
        return cancelled

    async def events(self, execution_id: str, after: int = -1) -> AsyncIterator[dict[str, Any]]:
        """Committed events as they happen, until the execution ends; a lost connection is taken up where it broke."""
        stream, failures = protocol.EventStream(after), 0
        while True:
            request = protocol.events(execution_id, stream.last_id)
            try:
                async with self._http.stream(request.method, request.path, headers=request.headers, timeout=30) as got:
                    if got.status_code >= 400:
                        protocol.answer(got.status_code, await got.aread())
                    async for line in got.aiter_lines():
                        for event in stream.feed(line):
                            failures = 0
                            yield event
                    return
            except httpx.TransportError as lost:
                failures += 1
                if failures > self.config.retries:
                    raise ServerUnreachable(str(lost)) from lost
                await asyncio.sleep(self.config.delay(failures, None))

    async def log_run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Record one run."""
        logged: dict[str, Any] = await self._call(protocol.log_runs(run))
        return logged

    async def log_runs(self, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Record up to 1,000 runs; one answer per run, in order."""
        results: list[dict[str, Any]] = (await self._call(protocol.log_runs(list(runs))))["results"]
        return results

    async def notify_registry_of_run(self, workflow_id: str, run_data: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the registry that a workflow has run."""
        noted: dict[str, Any] = await self._call(protocol.notify(workflow_id, run_data))
        return noted

    async def _call(self, request: protocol.Request) -> Any:
        for attempt in range(self.config.retries + 1):
            final = attempt == self.config.retries
            try:
                got = await self._http.request(
                    request.method, request.path, json=request.body, params=request.params,
                    headers=request.headers, timeout=self.config.timeout_s + request.extra_timeout_s,
                )  # fmt: skip
            except httpx.TransportError as lost:
                if final:
                    raise ServerUnreachable(f"{self.config.base_url}: {lost}") from lost
                await asyncio.sleep(self.config.delay(attempt, None))
                continue
            if got.status_code not in protocol.RETRIED or final:
                return protocol.answer(got.status_code, got.content)
            await asyncio.sleep(self.config.delay(attempt, got.headers.get("Retry-After")))
        raise AssertionError("unreachable")


async def notify_registry_of_run(workflow_id: str, run_data: Mapping[str, Any]) -> dict[str, Any]:
    """Tell the registry at MILLRACE_URL (or REGISTRY_URL) that a workflow has run."""
    async with AsyncClient() as client:
        return await client.notify_registry_of_run(workflow_id, run_data)
