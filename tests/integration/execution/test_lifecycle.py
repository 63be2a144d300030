from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from models import executions
from models.dal import AsyncDAL
from services.access.actor import Actor
from services.errors import BadRequest, ExecutionNotFound, ExecutionRefused, IdempotencyMismatch
from services.execution import driver
from services.execution.lifecycle import StartRequest
from services.idempotency import Wanted
from tests.support.execution import ADMIN, World, build, specs, world


def chain(*actions: str, **more: Any) -> dict[str, Any]:
    """Tasks a, b, c … one after the other."""
    names = "abcdefgh"
    tasks: dict[str, Any] = {
        names[n]: {"action": action, "input": {"n": n}, "next": [{"when": "<% succeeded() %>", "do": names[n + 1]}]}
        for n, action in enumerate(actions[:-1])
    }
    tasks[names[len(actions) - 1]] = {"action": actions[-1], "input": {"n": len(actions) - 1}}
    return {"version": 1.0, "tasks": tasks, **more}


def one(action: str, **task: Any) -> dict[str, Any]:
    return {"version": 1.0, "input": ["x"], "tasks": {"a": {"action": action, **task}}}


PUBLISHING = {
    "version": 1.0,
    "input": ["x"],
    "tasks": {
        "a": {
            "action": "test.write",
            "input": {"n": "<% ctx().x %>"},
            "next": [{"when": "<% succeeded() %>", "publish": [{"y": "<% result().n + 1 %>"}], "do": "b"}],
        },
        "b": {
            "action": "test.write",
            "input": {"n": "<% ctx().y %>"},
            "next": [{"publish": [{"z": "<% result().n + 1 %>"}], "do": "c"}],
        },
        "c": {"action": "core.noop"},
    },
    "output": [{"z": "<% ctx().z %>"}],
}


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        yield made


async def log(here: World, execution_id: str) -> list[tuple[int, list[str]]]:
    rows = await here.execution.journal.rows(execution_id)
    return [(row.seq, [type(event).__name__ for event in row.events]) for row in rows]


async def test_a_chain_runs_to_its_output(here: World) -> None:
    await here.register(PUBLISHING)

    row = await here.run(x=1)

    assert (row.status, row.final_output, row.nodes_executed) == ("completed", {"z": 3}, 3)
    assert [call.input["n"] for call in here.calls] == [1, 2]


async def test_every_effectful_step_is_one_row_and_results_without_effect_ride_along(here: World) -> None:
    await here.register(chain("test.write", "core.noop", "test.write"))

    row = await here.run()

    assert [seq for seq, _ in await log(here, str(row.execution_id))] == [0, 1, 2]


async def test_the_end_is_in_the_history_and_counted_in_the_same_commit(here: World) -> None:
    await here.register(chain("core.noop"))

    row = await here.run()

    run = await here.db.workflow_runs(row.execution_id)
    assert (run.status, run.source, run.run_id, run.inputs) == ("completed", "engine", str(row.execution_id), None)
    assert (await here.db(here.db.run_count).select(here.db.run_count.runs).first()).runs == 1
    flow = await here.db(here.db.workflow.ref == "default.flow").select().first()
    assert (flow.total_runs, flow.latest_run_id, flow.latest_run_status) == (1, str(row.execution_id), "completed")
    assert await here.db(here.db.outbox).count() == 1


async def test_a_failed_action_fails_the_execution_and_says_where(here: World) -> None:
    await here.register(chain("core.noop", "test.broken", "core.noop"))

    row = await here.run()

    assert (row.status, row.error_node_id, row.error_type) == ("failed", "b", "execution")


async def test_a_retry_keeps_its_idempotency_key(here: World) -> None:
    await here.register(
        one("test.flaky", input={"succeeds_at": 3}, retry={"count": 5, "delay": 0, "when": "<% failed() %>"})
    )

    row = await here.run()

    assert row.status == "completed"
    assert [call.attempt for call in here.calls] == [1, 2, 3]
    assert {call.key for call in here.calls} == {f"{row.execution_id}/a/0"}


async def test_items_run_side_by_side_within_the_limit(here: World) -> None:
    await here.register(
        one(
            "test.gated", **{"with": {"items": "i in <% ctx().x %>", "concurrency": 3}, "input": {"i": "<% item(i) %>"}}
        )
    )
    execution = await here.start(x=list(range(8)))
    await here.until(lambda: len(here.calls) >= 3)
    seen = len(here.calls)
    here.gate.set()

    row = await here.ended(execution)

    assert (seen, row.status, len(here.calls)) == (3, "completed", 8)


async def test_cancel_interrupts_the_running_action(here: World) -> None:
    await here.register(chain("test.gated", "test.write"))
    execution = await here.start()
    await here.until(lambda: here.calls)

    book = await here.execution.lifecycle.control(execution, "cancel", by=ADMIN)
    row = await here.ended(execution)

    assert not book.state.ended
    assert (row.status, len(here.calls)) == ("cancelled", 1)


async def test_what_has_ended_cannot_be_cancelled(here: World) -> None:
    await here.register(chain("core.noop"))
    row = await here.run()

    with pytest.raises(BadRequest, match="already ended"):
        await here.execution.lifecycle.control(str(row.execution_id), "cancel", by=ADMIN)


async def test_a_paused_execution_starts_nothing_until_it_is_resumed(here: World) -> None:
    await here.register(chain("test.gated", "test.write"))
    execution = await here.start()
    await here.until(lambda: here.calls)
    await here.execution.lifecycle.control(execution, "pause", by=ADMIN)
    here.gate.set()

    async def parked() -> bool:
        row = await here.execution.library.row(execution)
        return row.driver is None

    await here.until(parked)
    paused, calls = await here.execution.library.row(execution), len(here.calls)
    await here.execution.lifecycle.control(execution, "resume", by=ADMIN)
    row = await here.ended(execution)

    assert (paused.status, calls) == ("paused", 1)
    assert paused.waiting_for[0]["kind"] == "pause"
    assert (row.status, len(here.calls)) == ("completed", 2)


async def test_a_delay_is_waited_for_without_a_driver(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "PARK_AFTER_S", 0.0)
    await here.register(one("test.write", delay=1))
    execution = await here.start()

    async def parked() -> bool:
        row = await here.execution.library.row(execution)
        return row.driver is None and row.wake_at is not None

    await here.until(parked)
    waiting = await here.execution.library.row(execution)
    monkeypatch.undo()
    row = await here.ended(execution)

    assert (waiting.status, waiting.waiting_for[0]["kind"]) == ("running", "delay")
    assert row.status == "completed"
    assert (row.end_time - row.start_time).total_seconds() >= 1


async def test_a_result_too_large_for_a_row_is_kept_beside_it_and_read_back(here: World) -> None:
    await here.register(
        {
            "version": 1.0,
            "input": ["x"],
            "tasks": {
                "a": {
                    "action": "test.write",
                    "input": {"big": "<% ctx().x %>"},
                    "next": [{"publish": [{"y": "<% result().big %>"}]}],
                }
            },
            "output": [{"y": "<% ctx().y %>"}],
        }
    )
    big = "x" * 100_000

    row = await here.run(x=big)

    book = await here.execution.library.folded_row(row)
    assert book.state.output == {"y": big}
    assert row.final_output is None
    assert await here.db(here.db.payload).count() >= 2


async def test_a_workflow_with_an_unknown_action_is_refused_naming_it(here: World) -> None:
    await here.register(chain("nobody.knows"))

    with pytest.raises(ExecutionRefused, match=r"nobody\.knows"):
        await here.start()


async def test_the_same_key_starts_one_execution(here: World) -> None:
    await here.register(chain("core.noop"))
    once = Wanted.of(b"{}", user_id=1, key="k", route="POST /x")
    request = StartRequest(identifier="default.flow", once=once)

    started = await asyncio.gather(*(here.execution.lifecycle.start(request, by=ADMIN) for _ in range(3)))

    assert len({str(accepted.facts.execution_id) for accepted in started}) == 1
    assert sorted(accepted.replayed for accepted in started) == [False, True, True]


async def test_the_same_key_with_another_body_is_refused(here: World) -> None:
    await here.register(chain("core.noop"))
    for_key = {"user_id": 1, "key": "k", "route": "POST /x"}
    first = StartRequest(identifier="default.flow", once=Wanted.of(b"{}", **for_key))  # type: ignore[arg-type]
    await here.execution.lifecycle.start(first, by=ADMIN)

    with pytest.raises(IdempotencyMismatch):
        other = StartRequest(identifier="default.flow", once=Wanted.of(b"{ }", **for_key))  # type: ignore[arg-type]
        await here.execution.lifecycle.start(other, by=ADMIN)


async def test_an_execution_of_somebody_else_is_not_there(here: World) -> None:
    await here.register(chain("core.noop"))
    row = await here.run()

    with pytest.raises(ExecutionNotFound):
        await here.execution.lifecycle.row(str(row.execution_id), by=Actor(user_id=77))


async def test_a_child_runs_and_gives_its_output_to_its_parent(here: World) -> None:
    await here.register(PUBLISHING, "default.child")
    await here.register(
        {
            "version": 1.0,
            "tasks": {
                "a": {
                    "action": "default.child",
                    "input": {"x": 5},
                    "next": [{"publish": [{"got": "<% result() %>"}]}],
                }
            },
            "output": [{"got": "<% ctx().got %>"}],
        },
        "default.parent",
    )

    row = await here.run("default.parent")

    [child] = await executions.children(here.db, row.execution_id)
    assert (row.status, child.status, child.depth) == ("completed", "completed", 2)
    assert row.final_output == {"got": {"z": 7}}


async def test_an_execution_can_wait_for_a_run_of_the_history(here: World) -> None:
    await here.register(PUBLISHING, "default.first")
    first = await here.run("default.first", x=1)
    await here.register(
        {
            "version": 1.0,
            "input": ["x"],
            "tasks": {
                "a": {
                    "action": "core.wait_for_run",
                    "input": {"run_id": "<% ctx().x %>"},
                    "next": [{"publish": [{"got": "<% result() %>"}], "do": "b"}],
                },
                "b": {"action": "core.sleep", "input": {"seconds": 0.01}},
            },
            "output": [{"got": "<% ctx().got %>"}],
        }
    )

    row = await here.run(x=str(first.execution_id))

    assert row.status == "completed"
    assert row.final_output["got"].items() >= {"status": "completed", "outputs": {"z": 3}}.items()


async def test_cancelling_a_parent_cancels_its_child(here: World) -> None:
    await here.register(chain("test.gated"), "default.child")
    await here.register(chain("default.child"), "default.parent")
    parent = await here.start("default.parent")
    await here.until(lambda: here.calls)

    await here.execution.lifecycle.control(parent, "cancel", by=ADMIN)

    row = await here.ended(parent)
    [child] = await executions.children(here.db, UUID(parent))
    assert (row.status, child.status) == ("cancelled", "cancelled")


async def test_after_a_restart_a_write_is_made_again_with_its_key_and_an_irreversible_one_is_not(db: AsyncDAL) -> None:
    first = build(db)
    await first.registry.start()
    first.execution.needs.catalogue.add(specs())
    await first.execution.start()
    await first.register(chain("test.gated"), "default.again")
    await first.register(chain("test.once"), "default.never")
    again, never = await first.start("default.again"), await first.start("default.never")
    await first.until(lambda: len(first.calls) == 2)
    await crash(first)

    async with world(db) as second:
        second.gate.set()
        done, failed = await second.ended(again), await second.ended(never)

    assert (done.status, failed.status, failed.error_type) == ("completed", "failed", "interrupted")
    assert [call.key for call in second.calls] == [f"{again}/a/0"]
    if db.engine == "sqlite":
        assert (1, ["Claimed", "NodeEnded"]) in [(s, n[:2]) for s, n in await log(second, never)]


async def crash(made: World) -> None:
    """Stop a side as a killed process stops: nothing is handed back. Its heartbeat is made old."""
    execution = made.execution
    assert execution._serving is not None
    execution._serving.cancel()
    await asyncio.gather(execution._serving, return_exceptions=True)
    old = "2020-01-01T00:00:00.000000Z"
    await made.db.sql(
        pg="UPDATE worker SET heartbeat_at = CAST(CAST(:old AS text) AS timestamptz)",
        sqlite="UPDATE worker SET heartbeat_at = :old",
        old=old,
    )
    await execution.needs.expressions.stop()
