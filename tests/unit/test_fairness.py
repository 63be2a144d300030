"""By turns over the workflows, and never more than the limits allow."""

from __future__ import annotations

from uuid import UUID

from models.turns import Live, Waiting
from services.engine.compile import compile_definition
from services.engine.graph import Graph
from services.execution.dispatch.fairness import Room, by_turns
from services.execution.starting import Parallel

A, B, C = (UUID(int=n) for n in (1, 2, 3))
KEY, OTHER = UUID(int=11), UUID(int=12)


def waiting(workflow: UUID, n: int, *, most: int | None = None, key: UUID | None = None) -> Waiting:
    return Waiting(UUID(int=workflow.int * 100_000 + n), workflow, key, most)


def test_a_workflow_with_one_execution_is_served_beside_one_with_ten_thousand() -> None:
    crowd = [waiting(A, n) for n in range(10_000)]

    order = by_turns([*crowd, waiting(B, 0), waiting(C, 0), waiting(C, 1)])

    assert [one.workflow_id for one in order[:6]] == [A, B, C, A, C, A]
    assert [one for one in order if one.workflow_id == A] == crowd


def test_a_limit_leaves_as_many_places_as_are_not_taken() -> None:
    room = Room([Live(A, None, 2), Live(B, None, 7)], per_key=0)

    admitted = room.admitted([waiting(A, n, most=5) for n in range(9)])

    assert len(admitted) == 3


def test_what_is_under_no_limit_passes_what_waits() -> None:
    room = Room([Live(A, None, 1)], per_key=0)

    assert room.admitted([waiting(A, 0, most=1), waiting(A, 1), waiting(B, 0, most=1)]) == [
        waiting(A, 1),
        waiting(B, 0, most=1),
    ]


def test_a_key_has_its_limit_over_all_workflows_together() -> None:
    room = Room([Live(A, KEY, 1), Live(B, OTHER, 9)], per_key=2)

    admitted = room.admitted([waiting(workflow, n, most=0, key=KEY) for n in range(2) for workflow in (A, B)])

    assert len(admitted) == 1
    assert set(room.full_keys) == {KEY, OTHER}


def test_what_no_key_has_started_is_under_no_limit_of_keys() -> None:
    assert Room([Live(A, None, 9)], per_key=1).take(waiting(A, 0, most=0))


def test_the_limit_that_keeps_something_waiting_is_named() -> None:
    room = Room([Live(A, KEY, 2)], per_key=2)

    assert room.obstacle(waiting(A, 0, most=2)) == (
        "2 executions of this workflow are driven and max_parallel_executions is 2"
    )
    assert room.obstacle(waiting(B, 0, most=0, key=KEY)) == (
        "2 executions of this key are driven and MAX_PARALLEL_EXECUTIONS_PER_KEY is 2"
    )


def graph_with(limits: dict[str, float]) -> Graph:
    graph = compile_definition({"tasks": [{"name": "a", "action": "core.noop"}], "limits": limits}).graph
    assert graph is not None
    return graph


def test_a_definition_lowers_the_servers_number_and_never_raises_it() -> None:
    plain, three = graph_with({}), graph_with({"max_parallel_executions": 3})

    assert Parallel().of(plain, None) is None
    assert Parallel().of(three, None) == 3
    assert Parallel(per_workflow=2).of(three, None) == 2
    assert Parallel(per_workflow=9).of(three, None) == 3
    assert Parallel(per_workflow=9).of(plain, None) == 9


def test_only_what_a_key_has_started_waits_for_its_key() -> None:
    assert Parallel(per_key=2).of(graph_with({}), "key") == 0
    assert Parallel(per_key=2).of(graph_with({}), None) is None
