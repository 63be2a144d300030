"""The command that sets a piece of work going; after a restart, the same command again."""

from __future__ import annotations

from datetime import datetime

from services.engine.commands import OpenInquiry, Perform, StartChild
from services.engine.durations import later
from services.engine.graph import Kind
from services.engine.questions import asked_timeout
from services.engine.state import Work
from services.engine.turn import Turn


def launch(turn: Turn, work: Work, delay_s: float = 0.0) -> None:
    """Ask the shell to begin an attempt that the state shows as started."""
    if work.kind is Kind.ACTION:
        turn.commands.append(_perform(work, delay_s))
        return
    expires_at = _set_deadline(turn, work)
    if work.kind is Kind.INQUIRY:
        turn.commands.append(
            OpenInquiry(node=work.node, run=work.run, item=work.item, input=work.input or {}, expires_at=expires_at)
        )
    else:
        turn.commands.append(_start_child(turn, work))


def again(turn: Turn, work: Work) -> None:
    """Repeat the command of an attempt that was begun before; timers are seen to elsewhere."""
    if work.kind is Kind.ACTION:
        turn.commands.append(_perform(work, work.delay_s))
    elif work.kind is Kind.INQUIRY:
        timer = turn.state.timers.get(work.deadline or "")
        due = None if timer is None else timer.due
        turn.commands.append(
            OpenInquiry(node=work.node, run=work.run, item=work.item, input=work.input or {}, expires_at=due)
        )
    elif work.kind is Kind.WORKFLOW:
        turn.commands.append(_start_child(turn, work))


def _perform(work: Work, delay_s: float) -> Perform:
    assert work.action is not None
    return Perform(
        node=work.node,
        run=work.run,
        item=work.item,
        attempt=work.attempt,
        action=work.action,
        input=work.input if work.input is not None else {},
        secrets=work.secrets,
        timeout_s=work.timeout_s,
        effect=work.effect,
        delay_s=delay_s,
    )


def _start_child(turn: Turn, work: Work) -> StartChild:
    assert work.child_id is not None
    assert work.action is not None
    return StartChild(
        child_id=work.child_id,
        node=work.node,
        run=work.run,
        item=work.item,
        workflow=work.action,
        inputs=work.input or {},
        depth=turn.state.depth + 1,
    )


def _set_deadline(turn: Turn, work: Work) -> datetime | None:
    """The timer that ends an inquiry or a child; an inquiry may name it in its input."""
    timeout_s = work.timeout_s
    if timeout_s is None and work.kind is Kind.INQUIRY:
        timeout_s = asked_timeout(work.input or {})
    if timeout_s is None:
        return None
    due = later(turn.now, timeout_s)
    turn.set_timer("timeout", work.key, due)
    return due
