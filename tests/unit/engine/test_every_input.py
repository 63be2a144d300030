"""The whole product of situation and input: what is taken, what is refused, and what changes nothing."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from models.records import ErrorType
from services.engine import inputs as tell
from services.engine.graph import Failure
from services.engine.statuses import Outcome, Phase
from tests.support.engine_shell import EXECUTION, START, Shell, tasks, workflows

ACT = {"name": "act", "action": "test.act"}
BASE = [
    ACT,
    {"name": "list", "action": "test.act", "with_items": [1, 2, 3], "concurrency": 2},
    {"name": "ask", "action": "core.inquiry", "timeout": 60},
    {"name": "child", "action": "other.workflow"},
    {"name": "rest", "wait": {"seconds": 30}},
    {"name": "late", "action": "test.act", "delay": 10},
    {"name": "again", "action": "test.act", "retry": {"count": 3, "delay": 5}},
    {"name": "last", "action": "test.act", "join": "all", "depends_on": ["act", "list"]},
]


def fresh() -> Shell:
    return Shell(tasks(*BASE), actions=workflows("other.workflow"), careful=True)


def running() -> Shell:
    return fresh().begin()


def retrying() -> Shell:
    shell = running()
    shell.end_task("again", (Outcome.FAILED, None))
    return shell


def pausing() -> Shell:
    shell = retrying()
    shell.pause()
    return shell


def paused() -> Shell:
    shell = pausing()
    while shell.in_flight:
        shell.end(shell.in_flight[0])
    child = next(iter(shell.children))
    shell.end_child(child)
    return shell


def cancelling() -> Shell:
    shell = retrying()
    shell.cancel()
    return shell


def failing() -> Shell:
    shell = retrying()
    shell.end_task("act", (Outcome.FAILED, None))
    return shell


def completed() -> Shell:
    return running().run()


def failed() -> Shell:
    shell = failing()
    return shell.run()


def cancelled() -> Shell:
    return cancelling().run()


SITUATIONS: dict[str, Callable[[], Shell]] = {
    case.__name__: case
    for case in (fresh, running, retrying, pausing, paused, cancelling, failing, completed, failed, cancelled)
}
PHASES = {"fresh": Phase.PENDING, "retrying": Phase.RUNNING} | {
    name: Phase(name) for name in SITUATIONS if name not in ("fresh", "retrying")
}
WRONG = Failure(type=ErrorType.EXECUTION, message="broken")


def at(node: str, item: int | None = None, attempt: int = 1, **more: Any) -> Callable[[Shell], tell.Input]:
    return lambda shell: tell.AttemptEnded(now=shell.now, node=node, run=0, item=item, attempt=attempt, **more)


INPUTS: dict[str, Callable[[Shell], tell.Input]] = {
    "begin": lambda shell: tell.Begin(now=START, execution_id=EXECUTION, actions=workflows("other.workflow")),
    "task completed": at("act"),
    "task failed": at("act", outcome=Outcome.FAILED, failure=WRONG),
    "task timed out": at("act", outcome=Outcome.TIMED_OUT),
    "task cancelled": at("act", outcome=Outcome.CANCELLED),
    "task over a limit": at("act", outcome=Outcome.FAILED, failure=Failure(type=ErrorType.LIMIT, message="too large")),
    "item completed": at("list", 0),
    "item failed": at("list", 1, outcome=Outcome.FAILED),
    "item cancelled": at("list", 1, outcome=Outcome.CANCELLED),
    "item that never started": at("list", 2),
    "second attempt of the first": at("again", attempt=2),
    "unknown task": at("nobody"),
    "unknown run": lambda shell: tell.AttemptEnded(now=shell.now, node="act", run=7),
    "wait is over": lambda shell: tell.TimerFired(now=shell.now.replace(hour=1), id="wait/rest/0"),
    "wait is not over": lambda shell: tell.TimerFired(now=START, id="wait/rest/0"),
    "delay is over": lambda shell: tell.TimerFired(now=shell.now.replace(hour=1), id="delay/late/0"),
    "retry is due": lambda shell: tell.TimerFired(now=shell.now.replace(hour=1), id="retry/again/0"),
    "inquiry timed out": lambda shell: tell.TimerFired(now=shell.now.replace(hour=1), id="timeout/ask/0"),
    "unknown timer": lambda shell: tell.TimerFired(now=shell.now, id="nothing"),
    "answer": lambda shell: tell.InquiryAnswered(now=shell.now, node="ask", run=0, response={"ok": True}, by="ann"),
    "answer to a task": lambda shell: tell.InquiryAnswered(now=shell.now, node="act", run=0),
    "expiry": lambda shell: tell.InquiryExpired(now=shell.now, node="ask", run=0),
    "child completed": lambda shell: tell.ChildEnded(now=shell.now, child_id=child(shell), outcome=Outcome.COMPLETED),
    "child failed": lambda shell: tell.ChildEnded(
        now=shell.now, child_id=child(shell), outcome=Outcome.FAILED, failure=WRONG
    ),
    "child cancelled": lambda shell: tell.ChildEnded(now=shell.now, child_id=child(shell), outcome=Outcome.CANCELLED),
    "child paused": lambda shell: tell.ChildPaused(now=shell.now, child_id=child(shell)),
    "unknown child": lambda shell: tell.ChildEnded(now=shell.now, child_id="nobody", outcome=Outcome.COMPLETED),
    "cancel": lambda shell: tell.CancelRequested(now=shell.now, by="ann"),
    "pause": lambda shell: tell.PauseRequested(now=shell.now, by="ann"),
    "resume": lambda shell: tell.ResumeRequested(now=shell.now, by="ann"),
    "recovered": lambda shell: tell.Recovered(now=shell.now),
    "released": lambda shell: tell.Released(now=shell.now),
    "over time": lambda shell: tell.LimitPassed(now=shell.now, limit="WORKFLOW_TIMEOUT_SECONDS"),
}
REFUSED = (
    {(name, "cancel") for name in ("completed", "failed", "cancelled")}
    | {(name, "pause") for name in SITUATIONS if name not in ("running", "retrying")}
    | {(name, "resume") for name in SITUATIONS if name not in ("pausing", "paused")}
)


def child(shell: Shell) -> str:
    from services.engine.rendering import child_id

    return child_id(EXECUTION, ("child", 0, None), 1)


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_what_it_is_called(name: str):
    shell = SITUATIONS[name]()

    assert shell.phase is PHASES[name]


@pytest.mark.parametrize(("situation", "given"), list(product(SITUATIONS, INPUTS)))
def test_every_input_is_understood_in_every_situation(situation: str, given: str):
    shell = SITUATIONS[situation]()
    before = shell.phase
    known = len(shell.log)

    decision = shell.say(INPUTS[given](shell))

    assert (decision.refused is not None) is ((situation, given) in REFUSED)
    assert decision.refused is None or not decision.events
    assert shell.phase is before or len(shell.log) > known
    if PHASES[situation] in (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED):
        assert not decision.events
    shell.check_fold()


@pytest.mark.parametrize(("situation", "given"), list(product(SITUATIONS, INPUTS)))
def test_every_execution_comes_to_its_end_after_any_input(situation: str, given: str):
    shell = SITUATIONS[situation]()
    shell.say(INPUTS[given](shell))
    if shell.phase is Phase.PENDING:
        shell.begin()
    if shell.phase in (Phase.PAUSING, Phase.PAUSED):
        shell.resume()

    shell.run()

    assert shell.state.ended
    assert not shell.state.work
    assert not shell.state.timers or shell.phase is not Phase.COMPLETED
