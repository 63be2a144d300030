"""The recorder with the real LangGraph: every way a run can go."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from millrace_client import AsyncClient, Spool
from millrace_client.langgraph import LangGraphRecorder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


class State(TypedDict, total=False):
    n: int
    trail: Annotated[list[str], operator.add]


def graph(*edges: tuple[str, str], checkpointer: Any = None, retry: Any = None, **nodes: Any) -> Any:
    built = StateGraph(State)
    for name, node in nodes.items():
        built.add_node(name, node, retry_policy=retry)
    for source, target in edges:
        built.add_edge(source, target)
    return built.compile(checkpointer=checkpointer)


def step(name: str):
    async def run(state: State) -> State:
        return {"n": state.get("n", 0) + 1, "trail": [name]}

    return run


def branch(name: str):
    async def run(state: State) -> State:
        return {"trail": [name]}

    return run


async def fail(state: State) -> State:
    raise ValueError("no luck")


def logged(body):
    return {"results": [{"run_id": run["run_id"], "status": "logged"} for run in body]}


@pytest.fixture
async def recorder(far_end, tmp_path):
    far_end.script = [(200, logged, {})]
    async with AsyncClient(far_end.url, retries=0) as client:
        yield LangGraphRecorder("support-agent-1.0.0", client, Spool(tmp_path / "spool"))


def sent(far_end) -> dict[str, Any]:
    return far_end.seen[-1][3][-1]


async def test_a_run_that_ends_well_is_completed_with_its_nodes(recorder, far_end):
    result = await recorder.ainvoke(graph((START, "a"), ("a", "b"), ("b", END), a=step("a"), b=step("b")), {"n": 0})

    run = sent(far_end)
    assert result == {"n": 2, "trail": ["a", "b"]}
    assert (run["wpk_id"], run["status"], run["inputs"], run["outputs"]) == (
        "support-agent-1.0.0",
        "completed",
        {"n": 0},
        result,
    )
    assert [(node["node"], node["status"]) for node in run["node_logs"]] == [("a", "success"), ("b", "success")]
    assert run["duration_ms"] >= 0


async def test_a_failing_node_fails_the_run_and_the_error_is_the_callers(recorder, far_end):
    with pytest.raises(ValueError, match="no luck"):
        await recorder.ainvoke(graph((START, "a"), ("a", "bad"), ("bad", END), a=step("a"), bad=fail), {"n": 0})

    run = sent(far_end)
    assert (run["status"], run["error"]) == ("failed", "ValueError: no luck")
    assert [(node["node"], node["status"]) for node in run["node_logs"]] == [("a", "success"), ("bad", "failed")]


async def test_a_run_that_outlives_its_limit_is_reported_as_timeout_with_an_error(recorder, far_end):
    async def slow(state: State) -> State:
        await asyncio.Event().wait()
        return {}

    with pytest.raises(TimeoutError):
        await recorder.ainvoke(graph((START, "slow"), ("slow", END), slow=slow), {"n": 0}, timeout_s=0.05)

    run = sent(far_end)
    assert (run["status"], run["error"]) == ("timeout", "the run exceeded its time limit")
    assert run["node_logs"][0]["status"] == "cancelled"


async def test_parallel_nodes_are_recorded_each(recorder, far_end):
    await recorder.ainvoke(
        graph((START, "a"), (START, "b"), ("a", END), ("b", END), a=branch("a"), b=branch("b")), {"trail": []}
    )

    assert {node["node"] for node in sent(far_end)["node_logs"]} == {"a", "b"}


async def test_conditional_edges_record_only_the_nodes_that_ran(recorder, far_end):
    built = StateGraph(State)
    built.add_node("yes", branch("yes"))
    built.add_node("no", branch("no"))
    built.add_conditional_edges(START, lambda state: "yes" if state["n"] > 1 else "no")

    await recorder.ainvoke(built.compile(), {"n": 2})

    assert [node["node"] for node in sent(far_end)["node_logs"]] == ["yes"]


async def test_every_attempt_of_a_retried_node_is_an_entry(recorder, far_end):
    attempts = []

    async def flaky(state: State) -> State:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError("again")
        return {"n": 3}

    policy = RetryPolicy(initial_interval=0.001, max_interval=0.001, jitter=False)
    await recorder.ainvoke(graph((START, "flaky"), ("flaky", END), flaky=flaky, retry=policy), {"n": 0})

    run = sent(far_end)
    assert run["status"] == "completed"
    assert [node["status"] for node in run["node_logs"]] == ["failed", "failed", "success"]


async def test_nodes_of_a_subgraph_say_where_they_are(recorder, far_end):
    inner = graph((START, "deep"), ("deep", END), deep=step("deep"))

    await recorder.ainvoke(graph((START, "outer"), ("outer", END), outer=inner), {"n": 0})

    spaces = {node["node"]: node["ns"] for node in sent(far_end)["node_logs"]}
    assert spaces["deep"].startswith("outer:")


async def test_an_interrupt_is_recorded_as_such_and_the_resumed_run_as_completed(recorder, far_end):
    async def ask(state: State) -> State:
        return {"trail": [interrupt("approve?")]}

    built = graph((START, "ask"), ("ask", END), ask=ask, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}

    await recorder.ainvoke(built, {"n": 0}, config)
    first = sent(far_end)
    await recorder.ainvoke(built, Command(resume="yes"), config)

    assert first["status"] == "interrupted"
    assert sent(far_end)["status"] == "completed"


async def test_a_streamed_run_is_recorded_when_the_stream_ends(recorder, far_end):
    built = graph((START, "a"), ("a", END), a=step("a"))

    chunks = [chunk async for chunk in recorder.astream(built, {"n": 0}, stream_mode="values")]

    assert chunks[-1]["n"] == 1
    assert sent(far_end)["outputs"] == chunks[-1]


async def test_runs_survive_a_dead_server_and_go_with_the_next_one(recorder, far_end):
    built = graph((START, "a"), ("a", END), a=step("a"))
    far_end.script = [(503, {"message": "away"}, {}), (200, logged, {})]

    await recorder.ainvoke(built, {"n": 1})
    kept = len(recorder.spool)
    await recorder.ainvoke(built, {"n": 2})

    assert kept == 1
    assert [run["inputs"]["n"] for run in far_end.seen[-1][3]] == [1, 2]
    assert len(recorder.spool) == 0


async def test_a_refused_run_is_set_aside_and_does_not_block_the_others(recorder, far_end, tmp_path):
    far_end.script = [(200, lambda body: {"results": [{"run_id": "x", "status": "rejected", "error": "bad"}]}, {})]

    await recorder.ainvoke(graph((START, "a"), ("a", END), a=step("a")), {"n": 1})

    assert len(recorder.spool) == 0
    assert len(list((tmp_path / "spool").glob("*.rejected"))) == 1


async def test_a_cancelled_run_is_kept_on_disk(recorder):
    started = asyncio.Event()

    async def slow(state: State) -> State:
        started.set()
        await asyncio.Event().wait()
        return {}

    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.ainvoke(graph((START, "s"), ("s", END), s=slow), {"n": 0}))
        await started.wait()
        task.cancel()

    [batch] = recorder.spool.batches()
    assert batch[0][1]["status"] == "cancelled"


def test_a_spooled_file_that_is_no_json_is_set_aside(tmp_path):
    spool = Spool(tmp_path)
    (tmp_path / "00000000000000000001-x.json").write_text("{")

    assert list(spool.batches()) == []
    assert len(list(tmp_path.glob("*.bad"))) == 1
