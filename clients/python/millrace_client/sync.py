"""The synchronous client: the asynchronous one, driven by a loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from .aio import AsyncClient

T = TypeVar("T")


class Client:
    """Starts, follows and cancels executions, and records runs. Use it as a context manager."""

    def __init__(self, base_url: str | None = None, api_key: str | None = None, **options: Any) -> None:
        """`options`: timeout_s, retries, backoff_s, max_backoff_s of `protocol.Config`."""
        self._async = AsyncClient(base_url, api_key, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="millrace-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._run(self._async.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, workflow: str, variables: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Start an execution and return its record; options: metadata, community_id, wait_s, key (idempotency)."""
        return self._run(self._async.start(workflow, variables, **options))

    def get(self, execution_id: str) -> dict[str, Any]:
        """One execution."""
        return self._run(self._async.get(execution_id))

    def wait(self, execution_id: str, timeout_s: float = 300.0, poll_s: float = 0.5) -> dict[str, Any]:
        """The execution once it has ended; WaitTimeout after `timeout_s`."""
        return self._run(self._async.wait(execution_id, timeout_s, poll_s))

    def cancel(self, execution_id: str) -> dict[str, Any]:
        """Cancel an execution."""
        return self._run(self._async.cancel(execution_id))

    def events(self, execution_id: str, after: int = -1) -> Iterator[dict[str, Any]]:
        """Committed events as they happen, until the execution ends; a lost connection is taken up where it broke."""
        stream = self._async.events(execution_id, after)
        while (event := self._run(_next(stream))) is not None:
            yield event

    def log_run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Record one run."""
        return self._run(self._async.log_run(run))

    def log_runs(self, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Record up to 1,000 runs; one answer per run, in order."""
        return self._run(self._async.log_runs(runs))

    def notify_registry_of_run(self, workflow_id: str, run_data: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the registry that a workflow has run."""
        return self._run(self._async.notify_registry_of_run(workflow_id, run_data))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(stream: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(stream, None)
