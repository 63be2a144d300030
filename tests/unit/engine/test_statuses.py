"""The whole product of status and change: what the tables know, and that everything else raises naming both sides."""

from enum import StrEnum
from itertools import product

import pytest

from models.records import ExecutionStatus
from services.engine.statuses import (
    ENDED,
    EXECUTION_TRANSITIONS,
    NODE_STATUS,
    PUBLIC,
    WORK_TRANSITIONS,
    Change,
    IllegalTransition,
    Outcome,
    Phase,
    Stage,
    Step,
    advance,
    diagram,
)

EXECUTION = list(product(Phase, Change))
WORK = list(product(Stage, Step))


def known(table: dict, statuses: type[StrEnum], changes: type[StrEnum]) -> list[tuple[StrEnum, StrEnum]]:
    return [pair for pair in product(statuses, changes) if pair in table]


@pytest.mark.parametrize(("phase", "change"), [pair for pair in EXECUTION if pair in EXECUTION_TRANSITIONS])
def test_a_known_change_of_an_execution_leads_where_the_table_says(phase: Phase, change: Change):
    after = advance(EXECUTION_TRANSITIONS, phase, change)

    assert after is EXECUTION_TRANSITIONS[phase, change]
    assert phase not in ENDED


@pytest.mark.parametrize(("phase", "change"), [pair for pair in EXECUTION if pair not in EXECUTION_TRANSITIONS])
def test_any_other_change_of_an_execution_is_refused_by_name(phase: Phase, change: Change):
    with pytest.raises(IllegalTransition) as refused:
        advance(EXECUTION_TRANSITIONS, phase, change)

    assert (refused.value.status, refused.value.change) == (phase, change)
    assert str(phase) in str(refused.value)
    assert str(change) in str(refused.value)


@pytest.mark.parametrize(("stage", "step"), [pair for pair in WORK if pair in WORK_TRANSITIONS])
def test_a_known_step_of_work_leads_where_the_table_says(stage: Stage, step: Step):
    assert advance(WORK_TRANSITIONS, stage, step) is WORK_TRANSITIONS[stage, step]


@pytest.mark.parametrize(("stage", "step"), [pair for pair in WORK if pair not in WORK_TRANSITIONS])
def test_any_other_step_of_work_is_refused(stage: Stage, step: Step):
    with pytest.raises(IllegalTransition):
        advance(WORK_TRANSITIONS, stage, step)


@pytest.mark.parametrize("phase", sorted(ENDED))
def test_nothing_leads_out_of_an_end(phase: Phase):
    leaving = [pair for pair in EXECUTION_TRANSITIONS if pair[0] is phase]

    assert leaving == []


def test_every_phase_but_the_first_can_be_reached():
    reached = set(EXECUTION_TRANSITIONS.values())

    assert reached == set(Phase) - {Phase.PENDING}


def test_stopping_work_is_never_repeated():
    leaving = [pair for pair in WORK_TRANSITIONS if pair[0] is Stage.STOPPING]

    assert leaving == []


def test_every_phase_and_outcome_has_a_word_of_the_api():
    assert set(PUBLIC) == set(Phase)
    assert set(NODE_STATUS) == set(Outcome)
    assert set(PUBLIC.values()) == set(ExecutionStatus)


def test_a_table_draws_its_own_diagram():
    drawing = diagram(WORK_TRANSITIONS)

    assert drawing.startswith("stateDiagram-v2\n")
    assert "    delayed --> running: start" in drawing.splitlines()
