"""The short way through Quart keeps Quart's promises: uploads in pieces, streams, clients that go away."""

import asyncio

import pytest
from quart import Blueprint, Response

from controllers import body, connection, envelope
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
