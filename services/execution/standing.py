"""What a state says is under way now: the commands that would bring it about, and what it waits for. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.engine.commands import InterruptAttempt, Perform
from services.engine.graph import Kind
from services.engine.state import State, Work
from services.engine.statuses import Phase, Stage


def standing_commands(state: State) -> list[Perform | InterruptAttempt]:
    """The attempts that should be running, and those that should be stopping."""
    found: list[Perform | InterruptAttempt] = []
    for work in state.work.values():
        if work.kind is Kind.ACTION and work.stage is Stage.RUNNING:
            found.append(_perform(work))
        elif work.kind is Kind.ACTION and work.stage is Stage.STOPPING:
            found.append(InterruptAttempt(node=work.node, run=work.run, item=work.item, attempt=work.attempt))
    return found


def _perform(work: Work) -> Perform:
    return Perform(
        node=work.node,
        run=work.run,
        item=work.item,
        attempt=work.attempt,
        action=work.action or "",
        input=work.input if work.input is not None else {},
        secrets=work.secrets,
        timeout_s=work.timeout_s,
        effect=work.effect,
        delay_s=work.delay_s,
    )


KINDS = {Kind.INQUIRY: "inquiry", Kind.WORKFLOW: "child", Kind.WAIT: "timer"}
STAGES = {Stage.DELAYED: "delay", Stage.RETRYING: "retry"}


def waiting_for(state: State) -> list[dict[str, Any]]:
    """`{kind, node_id, since, until}` of everything that waits: timers, retries, people, children, a pause."""
    found = [entry for work in state.work.values() if (entry := _waiting(state, work)) is not None]
    if state.phase is Phase.PAUSED:
        found.append({"kind": "pause", "node_id": None, "since": _text(state.last_at), "until": None})
    return found


def _waiting(state: State, work: Work) -> dict[str, Any] | None:
    kind = STAGES.get(work.stage) or (KINDS.get(work.kind) if work.stage is not Stage.STOPPING else None)
    if kind is None:
        return None
    timer = state.timers.get(work.timer or work.deadline or "")
    until = timer.due if timer is not None else None
    entry = {"kind": kind, "node_id": work.node, "since": _text(work.since), "until": _text(until)}
    if work.child_id is not None:
        entry["execution_id"] = work.child_id
    return entry


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
