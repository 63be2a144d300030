"""What holds for every workflow and every order of events. `MILLRACE_EXAMPLES` says how many are tried (default 500)."""

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.engine import events as happened
from services.engine import inputs as tell
from services.engine.graph import Limits
from services.engine.statuses import Phase
from tests.properties.workflows import mock, orderly, wild
from tests.support.engine_shell import Shell, graph_of

EXAMPLES = int(os.environ.get("MILLRACE_EXAMPLES", "500"))
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
SMALL = Limits(max_parallel_nodes=3, max_loop_iterations=4, max_total_operations=80)
SEEDS = st.integers(0, 2**31)
CHANCE = st.randoms(use_true_random=False)


def drive(shell: Shell, chance: Any) -> Shell:
    """Let things happen in a random order, with requests, crashes and repetitions in between."""
    shell.begin()
    for _ in range(2_000):
        choices = shell.choices()
        if not choices:
            if shell.state.ended:
                return shell
            if shell.hold:
                shell.release()
                continue
            assert shell.phase in (Phase.PAUSED, Phase.PAUSING), f"stuck while {shell.phase}"
            shell.resume()
            continue
        act = chance.random()
        if act > 0.98:
            shell.pause()
        elif act > 0.96:
            shell.resume()
        elif act > 0.95:
            shell.lose_everything()
        elif act > 0.947:
            shell.hold = True
        elif act > 0.945:
            shell.cancel()
        else:
            chance.choice(choices)()
    raise AssertionError("no end")


@PROFILE
@given(document=wild(), seed=SEEDS, chance=CHANCE)
def test_every_promise_holds_in_every_order_and_an_ended_execution_stays_ended(
    document: dict[str, Any], seed: int, chance: Any
):
    shell = drive(Shell(graph_of(document), mock(seed), SMALL), chance)

    decided = [shell.say(given).events for given in late_inputs(shell)]

    assert isinstance(shell.log[-1], happened.Finished)
    assert not any(decided)
    shell.check_fold()


@settings(PROFILE, max_examples=max(EXAMPLES // 5, 20))
@given(document=orderly(), seed=SEEDS, chance=CHANCE)
def test_holding_back_changes_when_things_start_and_nothing_else(document: dict[str, Any], seed: int, chance: Any):
    graph = graph_of(document)
    first = Shell(graph, mock(seed), Limits()).begin().run()

    second = Shell(graph, mock(seed), Limits(), hold=True).begin()
    while not second.state.ended:
        second.hold = chance.random() < 0.5
        choices = second.choices()
        if choices:
            chance.choice(choices)()
        elif not second.state.ended:
            second.release()

    assert (second.phase, second.state.output) == (first.phase, first.state.output)
    assert second.outcomes() == first.outcomes()
    second.check_fold()


def late_inputs(shell: Shell) -> list[tell.Input]:
    """What may still come in after the end."""
    late: list[tell.Input] = [tell.Recovered(now=shell.now), tell.CancelRequested(now=shell.now)]
    late += [tell.ResumeRequested(now=shell.now), tell.PauseRequested(now=shell.now)]
    late += [tell.LimitPassed(now=shell.now, limit="WORKFLOW_TIMEOUT_SECONDS")]
    late += [
        tell.AttemptEnded(now=shell.now, node=one.node, run=one.run, item=one.item, attempt=one.attempt)
        for one in shell.performed[-3:]
    ]
    return late


@settings(PROFILE, max_examples=max(EXAMPLES // 5, 20))
@given(document=wild(), seed=SEEDS, chance=CHANCE)
def test_deciding_changes_nothing_and_the_same_input_twice_decides_nothing(
    document: dict[str, Any], seed: int, chance: Any
):
    shell = Shell(graph_of(document), mock(seed), SMALL, careful=True)

    drive(shell, chance)

    assert shell.state.ended


@settings(PROFILE, max_examples=max(EXAMPLES // 2, 20))
@given(document=wild(), seed=SEEDS, chance=CHANCE)
def test_nothing_starts_after_a_cancel_but_compensation(document: dict[str, Any], seed: int, chance: Any):
    shell = Shell(graph_of(document), mock(seed), SMALL).begin()
    for _ in range(chance.randrange(12)):
        if shell.choices():
            chance.choice(shell.choices())()
    known = len(shell.log)

    if not shell.state.ended:
        shell.cancel()
    shell.run(chance.choice)

    started = [
        event for event in shell.log[known:] if isinstance(event, happened.NodeStarted | happened.AttemptStarted)
    ]
    assert all(isinstance(event, happened.NodeStarted) and event.undoes for event in started)
    assert shell.state.ended


@PROFILE
@given(document=orderly(), seed=SEEDS, chance=CHANCE)
def test_the_same_results_give_the_same_output_in_every_order(document: dict[str, Any], seed: int, chance: Any):
    graph = graph_of(document)
    first = Shell(graph, mock(seed), Limits()).begin().run()
    slots = Limits(max_parallel_nodes=chance.randint(1, 8))

    second = Shell(graph, mock(seed), slots).begin().run(chance.choice)

    assert (second.phase, second.state.output) == (first.phase, first.state.output)
    assert second.outcomes() == first.outcomes()
    attempts = [(one.key, one.attempt) for one in second.performed]
    assert len(attempts) == len(set(attempts)), "something was performed twice"
