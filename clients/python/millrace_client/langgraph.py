"""Turns any LangGraph invocation into a run record and delivers it, also when the server is down.

Recording uses callbacks: the one hook that sees failures, cancellations and every retry of a node. A finished run
goes to the spool first and to the server next; what could not be delivered goes with the next run or `flush()`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler

from .aio import AsyncClient
from .errors import ApiError, ServerUnreachable
from .spool import Spool

log = logging.getLogger("millrace_client")


class NodeRecorder(AsyncCallbackHandler):
    """Collects one entry per attempt of a node; one instance per invocation (`config={"callbacks": [recorder]}`).

    An entry is `{node, step, ns, status, started_at, duration_ms, input, output, error}`; `ns` names the subgraph,
    status is success, failed, cancelled, interrupted or running.
    """

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.root: str | None = None
        self._open: dict[uuid.UUID, tuple[dict[str, Any], float]] = {}

    async def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: uuid.UUID, parent_run_id: uuid.UUID | None = None, **extra: Any
    ) -> None:
        """A graph, a node or something inside a node begins; only nodes are kept."""
        metadata = extra.get("metadata") or {}
        if parent_run_id is None:
            self.root = str(run_id)
        elif (name := extra.get("name")) == metadata.get("langgraph_node") and name != "__start__":  # no routers
            entry = {
                "node": name,
                "step": metadata.get("langgraph_step"),
                "ns": metadata.get("langgraph_checkpoint_ns", ""),
                "status": "running",
                "started_at": datetime.now(UTC).isoformat(),
                "duration_ms": None,
                "input": plain(inputs),
                "output": None,
                "error": None,
            }
            self.nodes.append(entry)
            self._open[run_id] = (entry, time.perf_counter())

    async def on_chain_end(self, outputs: Any, *, run_id: uuid.UUID, **_extra: Any) -> None:
        """A node ended well."""
        self._close(run_id, status="success", output=plain(outputs))

    async def on_chain_error(self, error: BaseException, *, run_id: uuid.UUID, **_extra: Any) -> None:
        """A node failed, was cancelled, or asks a person."""
        status = "failed"
        if isinstance(error, asyncio.CancelledError):
            status = "cancelled"
        elif type(error).__name__ == "GraphInterrupt":
            status = "interrupted"
        self._close(run_id, status=status, error=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Whatever still runs was cut off."""
        for run_id in list(self._open):
            self._close(run_id, status="cancelled")

    def _close(self, run_id: uuid.UUID, **outcome: Any) -> None:
        if run_id in self._open:
            entry, began = self._open.pop(run_id)
            entry.update(outcome, duration_ms=round((time.perf_counter() - began) * 1000, 2))


class LangGraphRecorder:
    """Runs graphs and records each invocation under a workflow package id."""

    def __init__(self, wpk_id: str, client: AsyncClient, spool: Spool, *, community_id: int | None = None) -> None:
        """`wpk_id` is the id runs are listed under; `spool` keeps them while the server is away."""
        self.wpk_id, self.client, self.spool, self.community_id = wpk_id, client, spool, community_id

    async def ainvoke(self, graph: Any, inputs: Any, config: Any = None, *, timeout_s: float | None = None) -> Any:
        """Invoke the graph and record the run; the graph's result or error is yours as without recording.

        A run that outlives `timeout_s` raises TimeoutError and is recorded as failed with `error`.
        """
        run = _Run(self, inputs)
        with run:
            async with asyncio.timeout(timeout_s) as limit:
                run.limit = limit
                run.outputs = await graph.ainvoke(inputs, config=run.configure(config))
        await self.deliver(run.record)
        return run.finish()

    async def astream(self, graph: Any, inputs: Any, config: Any = None, **options: Any) -> AsyncIterator[Any]:
        """Stream the graph's values to you and record the run when the stream ends."""
        run = _Run(self, inputs)
        with run:
            async for chunk in graph.astream(inputs, config=run.configure(config), **options):
                run.outputs = chunk
                yield chunk
        await self.deliver(run.record)
        run.finish()

    async def deliver(self, record: Mapping[str, Any]) -> None:
        """Keep the record on disk, then try to send everything that waits. Never raises for a dead server."""
        await asyncio.to_thread(self.spool.put, record)
        await self.flush()

    async def flush(self) -> int:
        """Send what waits; how many runs are still undelivered."""
        try:
            for batch in await asyncio.to_thread(lambda: list(self.spool.batches())):
                results = await self.client.log_runs([run for _, run in batch])
                for refused in self.spool.settle(batch, results):
                    log.warning("run %s was refused: %s", refused["run_id"], refused.get("error"))
        except (ServerUnreachable, ApiError) as error:
            log.warning("runs are kept in %s until the server takes them: %s", self.spool.folder, error)
        return len(self.spool)


class _Run:
    """One invocation being recorded: catches its end, whatever it is, and hands the error back in `finish`."""

    def __init__(self, recorder: LangGraphRecorder, inputs: Any) -> None:
        self.recorder, self.inputs = recorder, inputs
        self.outputs: Any = None
        self.nodes, self.began = NodeRecorder(), time.perf_counter()
        self.limit: asyncio.Timeout | None = None
        self.created_at = datetime.now(UTC).isoformat()
        self.error: BaseException | None = None
        self.record: dict[str, Any] = {}

    def configure(self, config: Any) -> dict[str, Any]:
        config = dict(config or {})
        return {**config, "callbacks": [*config.get("callbacks", []), self.nodes]}

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        self.nodes.close()
        self.error = error
        status, reason = self._status(error)
        self.record = {
            "wpk_id": self.recorder.wpk_id,
            "run_id": self.nodes.root or str(uuid.uuid4()),
            "status": status,
            "inputs": plain(self.inputs),
            "outputs": plain(self.outputs),
            "duration_ms": round((time.perf_counter() - self.began) * 1000),
            "node_logs": self.nodes.nodes,
            "created_at": self.created_at,
            **({"error": reason} if reason else {}),
            **({"community_id": self.recorder.community_id} if self.recorder.community_id is not None else {}),
        }
        if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt):
            self.recorder.spool.put(self.record)  # the caller is leaving: keep it, the next run delivers it
            return False
        return error is not None

    def _status(self, error: BaseException | None) -> tuple[str, str | None]:
        if error is None:
            interrupted = isinstance(self.outputs, dict) and self.outputs.get("__interrupt__")
            return ("interrupted" if interrupted else "completed"), None
        if isinstance(error, TimeoutError) and self.limit is not None and self.limit.expired():
            return "timeout", "the run exceeded its time limit"
        if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt):
            return "cancelled", None
        return "failed", f"{type(error).__name__}: {error}"

    def finish(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.outputs


def plain(value: Any) -> Any:
    """The value as JSON knows it: messages and other objects by their own dump, else as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    return plain(dump(mode="json")) if callable(dump) else str(value)
