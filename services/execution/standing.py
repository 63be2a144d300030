"""What a state says is under way now: the commands that would bring it about, and what it waits for. Pure."""

from __future__ import annotations

from typing import Any

from services.engine import view
from services.engine.commands import CancelChild, InterruptAttempt, Perform
from services.engine.graph import Kind
from services.engine.scopes import time_text
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


def standing_requests(state: State) -> list[CancelChild]:
    """The children that should be ending, whoever asked them to and perhaps did not get that far."""
    stopping = [work.child_id for work in state.work.values() if work.stage is Stage.STOPPING]
    return [CancelChild(child_id=child) for child in stopping if child is not None]


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


def waiting_for(state: State) -> list[dict[str, Any]]:
    """What a parked execution waits for: people, times, children, or to be resumed."""
    found = view.waiting_for(state)
    if state.phase is Phase.PAUSED:
        since = None if state.last_at is None else time_text(state.last_at)
        found.append({"kind": "pause", "node_id": None, "since": since, "until": None})
    return found
