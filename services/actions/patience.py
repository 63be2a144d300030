"""Built-in actions that wait in this process: for a time, or for a run of the history to end.

In a native definition `core.sleep` is a durable timer instead; these serve refs that are only known while it runs,
and dialects without timers. After a restart they wait anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from models import executions, runs
from models.records import ErrorType, RunStatus
from models.runs import RunSummary
from services.actions.outcome import ActionFailed, Call

POLL_S = 2.0
OPEN = frozenset({RunStatus.RUNNING, RunStatus.INTERRUPTED})


class Patience:
    """The waiting actions of one process."""

    def __init__(self, db: Any, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now

    async def sleep(self, call: Call) -> dict[str, Any]:
        """Wait `seconds`, or `until` a time."""
        given: Mapping[str, Any] = call.input
        seconds = given.get("seconds")
        if seconds is None:
            seconds = (_moment(given.get("until")) - self._now()).total_seconds()
        await asyncio.sleep(max(0.0, float(seconds)))
        return {"slept_seconds": max(0.0, float(seconds))}

    async def wait_for_run(self, call: Call) -> dict[str, Any]:
        """Look again and again until the newest run with that id has ended; its status and outputs."""
        given: Mapping[str, Any] = call.input
        pause = max(0.1, float(given.get("poll_seconds") or POLL_S))
        while True:
            found = await runs.by_run_id(self._db, given["run_id"], given.get("wpk_id"))
            if found and found[0].status not in OPEN:
                run = found[0]
                outputs = await self._outputs(run)
                return {"run_id": run.run_id, "wpk_id": run.wpk_id, "status": run.status, "outputs": outputs}
            await asyncio.sleep(pause)

    async def _outputs(self, run: RunSummary) -> Any:
        if run.source == "engine":
            row = await executions.get(self._db, run.id)
            return row.final_output if row is not None else None
        payloads = await runs.payloads(self._db, run.id)
        return payloads.outputs if payloads is not None else None


def _moment(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ActionFailed(f"'{text}' is not a time (RFC 3339)", kind=ErrorType.VALIDATION) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
