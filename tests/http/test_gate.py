"""A server that has enough to do says so at once, before it does anything, and lets go of nothing it has accepted."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvicorn
from uvicorn.server import ServerState

from controllers import connection, gate, server
from controllers.gate import FEW, Gate
from models.dal import AsyncDAL
from services.errors import Overloaded
from services.execution.dispatch.rules import Rules
from tests.support.execution import world

GATED = {"tasks": [{"name": "a", "action": "test.gated"}]}
ECHO = {"tasks": [{"name": "a", "action": "core.echo", "input": {"message": "hi"}}]}
ASK = {"tasks": [{"name": "q", "action": "core.inquiry", "input": {"prompt": "go?"}}]}


@pytest.fixture
def environ():
    return {"MAX_REQUESTS": "3", "MAX_WAITING_REQUESTS": "2"}


@pytest.fixture
async def flow(client, admin):
    """`await flow(definition)` registers it as `default.flow`."""

    async def make(definition):
        body = {"ref": "default.flow", "pack_ref": "default", "label": "x", "version": "1", "definition": definition}
        answer = await client.post("/api/v1/workflows", json=body, headers=admin)
        assert answer.status_code == 201

    return make


async def executions(here) -> int:
    return int(await here.db.sql("SELECT count(*) FROM workflow_executions").scalar())


async def test_a_full_server_refuses_at_once_and_says_when_to_come_back(client, here, admin, flow):
    await flow(ECHO)
    here.gate.inside = 3

    refused = await client.post("/api/v1/workflows/default.flow/execute", json={}, headers=admin)
    problem = await client.get("/api/v1/me", headers={**admin, "Accept": "application/problem+json"})
    health = await client.get("/health")
    here.gate.inside = 0
    accepted = await client.post("/api/v1/workflows/default.flow/execute", json={}, headers=admin)

    body = await refused.json
    assert (refused.status_code, body["error_code"], refused.headers["Retry-After"]) == (
        503,
        "SERVICE_UNAVAILABLE",
        "1",
    )
    assert body["request_id"] == refused.headers["X-Request-ID"]
    assert (problem.content_type, (await problem.json)["status"]) == ("application/problem+json", 503)
    assert health.status_code == 200
    assert accepted.status_code == 202
    assert await executions(here) == 1
    assert b"http_requests_turned_away_total 2.0" in here.metrics.text()


def test_a_machine_that_does_not_keep_up_takes_in_a_few_only():
    made, asked = Gate(most=1000, most_waiting=1000), {"path": "/", "query_string": b""}
    made.pulse.observe(1.0)
    made.waiting = FEW - 1
    few = made.obstacle(asked)
    made.waiting = FEW
    many = made.obstacle(asked)
    for _ in range(20):
        made.pulse.observe(0.0)

    assert few is None
    assert many is not None
    assert made.obstacle({**asked, "path": "/health"}) is None
    assert made.obstacle(asked) is None


async def test_a_late_loop_holds_its_refusals_back(client, here, admin, monkeypatch):
    held = asyncio.Event()

    async def hold(seconds: float) -> None:
        assert seconds == connection.HOLDS_S
        await held.wait()

    monkeypatch.setattr(connection, "sleep", hold)
    here.gate.waiting += FEW
    here.gate.pulse.observe(1.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.get("/api/v1/packs", headers=admin))
        health = await client.get("/health")
        early = task.done()
        held.set()
    here.gate.waiting -= FEW
    refused = task.result()

    assert (health.status_code, early, refused.status_code) == (200, False, 503)
    assert refused.headers["Retry-After"] == "1"


async def test_the_loop_is_watched_only_while_there_are_many_guests(monkeypatch):
    monkeypatch.setattr(gate, "BEAT_S", 0.0)
    made = Gate()
    for _ in range(FEW):
        made.enter()
    quiet = made.pulse.is_measured
    made.enter()
    watched = made.pulse.is_measured
    made.inside = 0
    while made.pulse.is_measured:
        await asyncio.sleep(0)

    assert (quiet, watched) == (False, True)
    assert made.pulse.late_s == 0.0


async def test_those_who_wait_are_bounded_and_keep_nobody_else_out(client, here, admin, flow):
    await flow(ASK)
    path = "/api/v1/workflows/default.flow/execute"
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(client.post(f"{path}?wait=30", json={}, headers=admin)) for _ in range(2)]
        while here.gate.waiting < 2 or here.gate.inside:
            await asyncio.sleep(0)

        refused = [
            await client.post(f"{path}?wait=30", json={}, headers=admin),
            await client.post(f"{path}?%77ait=30", json={}, headers=admin),
        ]
        accepted = await client.post(path, json={}, headers=admin)
        here.execution.waiters.release()

    assert [answer.status_code for answer in refused] == [503, 503]
    assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    assert accepted.status_code == 202
    assert [task.result().status_code for task in waiting] == [202, 202]
    assert await executions(here) == 3
    assert (here.gate.inside, here.gate.waiting) == (0, 0)


async def test_a_stream_counts_as_one_who_waits(client, here, admin, flow):
    await flow(ASK)
    started = await client.post("/api/v1/workflows/default.flow/execute", json={}, headers=admin)
    path = f"{started.headers['Location']}/events"
    stream = {**admin, "Accept": "text/event-stream"}
    async with client.request(path, headers=stream) as connection:
        await connection.send_complete()
        await connection.receive()
        seen = here.gate.waiting
        await connection.disconnect()
    here.gate.waiting += 2
    refused = await client.get(path, headers=stream)
    here.gate.waiting -= 2

    assert seen == 1
    assert refused.status_code == 503


async def test_no_more_is_accepted_when_too_much_waits_for_a_worker(db: AsyncDAL):
    async with world(db, rules=Rules(slots=1, queued_most=2)) as made:
        await made.register(GATED)
        ids = [await made.start() for _ in range(4)]

        async def is_full() -> bool:
            try:
                made.execution.lifecycle.dispatcher.check_room()
            except Overloaded:
                return True
            return False

        await made.until(is_full)
        with pytest.raises(Overloaded):
            await made.start()
        made.gate.set()
        rows = [await made.ended(id_) for id_ in ids]
        count = int(await db.sql("SELECT count(*) FROM workflow_executions").scalar())

    assert {row.status for row in rows} == {"completed"}
    assert count == 4


class Transport(asyncio.Transport):
    """What one client sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.closed = b"", False

    def write(self, data: bytes) -> None:
        self.seen += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high=None, low=None) -> None:
        pass


async def test_one_connection_too_many_is_told_to_come_back():
    state, config = ServerState(), uvicorn.Config(lambda *_: None, log_config=None)
    kind = type("Protocol", (server.BoundedProtocol,), {"most_connections": 2})
    clients = [Transport() for _ in range(3)]

    for client in clients:
        kind(config, state, {}).connection_made(client)
    await asyncio.sleep(0)

    assert [client.closed for client in clients] == [False, False, True]
    assert clients[2].seen.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in clients[2].seen


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\x00nonsense\r\n\r\n", "Invalid HTTP request"), (b"GET /?a=" + b"a" * 70_000, "head is too large")],
)
async def test_what_never_becomes_a_request_is_refused_in_the_shape_of_every_error(data, said):
    client = Transport()
    protocol = server.BoundedProtocol(uvicorn.Config(lambda *_: None, log_config=None), ServerState(), {})
    protocol.connection_made(client)

    protocol.data_received(data)
    await asyncio.sleep(0)

    head, _, body = client.seen.partition(b"\r\n\r\n")
    assert client.closed
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")
    assert said in json.loads(body)["message"]
    assert json.loads(body)["error_code"] == "BAD_REQUEST"


def test_the_system_may_allow_fewer_connections_than_the_settings(monkeypatch):
    raised = []
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(server.resource, "setrlimit", lambda _, limits: raised.append(limits))

    allowed = [server.connections_for(wanted) for wanted in (100, 2000, 100_000)]

    assert allowed == [100, 2000, 4096 - server.SPARE_FILES]
    assert raised == [(2000 + server.SPARE_FILES, 4096), (4096, 4096)]
