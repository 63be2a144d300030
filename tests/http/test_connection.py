"""The short way through Quart keeps Quart's promises: uploads in pieces, streams, clients that go away."""

import asyncio
import json

import pytest
from quart import Blueprint, Response

from controllers import body, connection, envelope, gate
from controllers.guards import public


@pytest.fixture
def database_engine():
    """What is tested here is the same on every database."""
    return "sqlite"


@pytest.fixture
def events():
    return {"running": asyncio.Event(), "cancelled": asyncio.Event()}


@pytest.fixture
async def app(built, events):
    blueprint = Blueprint("probe", __name__)

    @blueprint.post("/t/echo")
    @public
    async def echo():
        return envelope.ok((await body.raw()).decode())

    @blueprint.get("/t/slow")
    @public
    async def slow():
        events["running"].set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events["cancelled"].set()
            raise

    @blueprint.get("/t/stream")
    @public
    async def stream():
        async def lines():
            for number in range(3):
                yield f"data: {number}\n\n"

        return Response(lines(), content_type="text/event-stream")

    built.register_blueprint(blueprint)
    async with built.test_app():
        yield built


class Client:
    """An ASGI server's side of one request."""

    def __init__(self, method, path, *pieces, headers=()):
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"x"), *headers],
            "client": ("127.0.0.1", 1),
        }
        last = len(pieces) - 1
        self.incoming = asyncio.Queue()
        for index, piece in enumerate(pieces):
            self.incoming.put_nowait({"type": "http.request", "body": piece, "more_body": index < last})
        self.sent = []

    def leave(self):
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message):
        self.sent.append(message)

    async def talk(self, app):
        async with asyncio.timeout(10):
            await app(self.scope, self.incoming.get, self.send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def text(self):
        return b"".join(message.get("body", b"") for message in self.sent[1:]).decode()


@pytest.mark.parametrize("pieces", [[b"abc"], [b"a", b"b", b"c"], [b"abc", b""]])
async def test_a_body_arrives_whole_or_in_pieces(app, pieces):
    client = await Client("POST", "/t/echo", *pieces).talk(app)

    assert client.status == 200
    assert '"abc"' in client.text


async def test_a_whole_answer_takes_two_messages(app):
    client = await Client("POST", "/t/echo", b"abc").talk(app)

    assert len(client.sent) == 2


@pytest.mark.parametrize("announced", [True, False])
async def test_an_upload_without_end_is_cut_off_at_the_limit(app, announced):
    pieces = [b"x" * 65536] * 40
    headers = [(b"content-length", b"%d" % (65536 * 40))] if announced else []

    client = await Client("POST", "/t/echo", *pieces, headers=headers).talk(app)

    assert client.status == 413
    answer = json.loads(client.text)
    assert (answer["message"], answer["details"]) == ("The body is larger than 1048576 bytes", {"max_bytes": 1048576})


async def test_bodies_on_their_way_in_share_one_allowance_and_give_it_back(app, monkeypatch):
    monkeypatch.setattr(gate, "MOST_BODY_BYTES", 100)

    clients = [
        await Client("POST", "/t/echo", b"a", b"b", headers=[(b"content-length", size)]).talk(app)
        for size in (b"101", b"100", b"100")
    ]

    assert [client.status for client in clients] == [503, 200, 200]
    assert app.gate.body_bytes == 0


async def test_a_stream_is_sent_as_it_comes(app):
    client = await Client("GET", "/t/stream", b"").talk(app)

    pieces = [message["body"] for message in client.sent[1:]]
    assert pieces == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n", b""]


async def test_a_request_whose_client_went_away_is_cancelled(app, events, monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE_S", 0.0)
    client = Client("GET", "/t/slow", b"")
    async with asyncio.TaskGroup() as group:
        group.create_task(client.talk(app))
        await events["running"].wait()

        client.leave()

    assert events["cancelled"].is_set()
    assert client.sent == []


async def test_a_server_that_ends_cancels_for_real(app, events):
    client = Client("GET", "/t/slow", b"")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.talk(app))
        await events["running"].wait()

        task.cancel()

    assert task.cancelled()


# ---- the direct way -------------------------------------------------------------------------------------------------

EXECUTE = "/api/v1/workflows/default.hello/execute"
DEFINITION = {"tasks": [{"name": "hello", "action": "core.echo", "input": {"message": "{{ parameters.who }}"}}]}
JSON = (b"content-type", b"application/json")
PLAIN = (b"content-type", b"application/json; charset=utf-8")
"""The same to a client, but unusual enough to go Quart's way."""


@pytest.fixture
async def hello(app, admin):
    made = {"ref": "default.hello", "pack_ref": "default", "label": "Hello", "version": "1", "definition": DEFINITION}
    answer = await app.test_client().post("/api/v1/workflows", json=made, headers=admin)
    assert answer.status_code == 201


async def told(app, path, text, kind, key, *more):
    """Status, headers without what is new in every answer, and body."""
    given = [] if key is None else [(b"x-api-key", key.encode())]
    client = Client("POST", path.partition("?")[0], text, headers=[kind, *given, *more])
    client.scope["query_string"] = path.partition("?")[2].encode()
    await client.talk(app)
    changing = (b"x-request-id", b"location", b"content-length", b"ratelimit-remaining", b"ratelimit-reset")
    start = client.sent[0]
    headers = sorted((name, value) for name, value in start["headers"] if name not in changing)
    answer = json.loads(b"".join(message.get("body", b"") for message in client.sent[1:]))
    for part in (answer, answer.get("data") or {}):
        for name in ("request_id", "execution_id", "start_time", "end_time", "execution_time_seconds"):
            part.pop(name, None)
    return start["status"], headers, answer


@pytest.mark.parametrize(
    ("path", "text", "more", "status"),
    [
        (EXECUTE, b'{"variables": {"who": "Ada"}}', [], 202),
        (f"{EXECUTE}?wait=20&wait=70", b'{"variables": {"who": "Ada"}}', [], 200),
        (f"{EXECUTE}?wait=soon", b"{}", [], 400),
        (f"{EXECUTE}?wiat=20", b"{}", [], 400),
        (EXECUTE, b'{"variables": 1, "other": 2}', [], 400),
        (EXECUTE, b'{"variables": {"a": 1}', [], 400),
        (EXECUTE, b"{}", [(b"accept", b"application/problem+json"), (b"idempotency-key", b"")], 400),
        ("/api/v1/workflows/default.nothing/execute", b"{}", [], 404),
    ],
)
async def test_the_direct_way_answers_as_quart_does(app, hello, admin, path, text, more, status):
    key = admin["X-API-Key"]

    direct = await told(app, path, text, JSON, key, *more)

    assert direct[0] == status
    assert direct == await told(app, path, text, PLAIN, key, *more)


@pytest.mark.parametrize("key", [None, "mlr_nobody"])
async def test_the_direct_way_refuses_strangers_as_quart_does(app, hello, key):
    direct = await told(app, EXECUTE, b"{}", JSON, key)

    assert direct[0] == 401
    assert direct == await told(app, EXECUTE, b"{}", PLAIN, key)


async def test_the_usual_request_takes_the_direct_way_and_is_counted_by_its_route(app, here, hello, admin):
    rule = {"method": "POST", "route": "/api/v1/workflows/<workflow_id>/execute", "status": "202"}
    before = here.metrics.registry.get_sample_value("millrace_http_requests_total", rule) or 0
    app.request_class = None  # whoever wants to make a request object now fails

    status, _, _ = await told(app, EXECUTE, b"{}", JSON, admin["X-API-Key"])

    assert status == 202
    assert here.metrics.registry.get_sample_value("millrace_http_requests_total", rule) == before + 1


async def test_a_repeated_start_is_marked_on_the_direct_way(app, hello, admin):
    once = (b"idempotency-key", b"again-1")
    await told(app, EXECUTE, b"{}", JSON, admin["X-API-Key"], once)

    status, headers, _ = await told(app, EXECUTE, b"{}", JSON, admin["X-API-Key"], once)

    assert (status, dict(headers)[b"idempotency-replayed"]) == (202, b"true")
