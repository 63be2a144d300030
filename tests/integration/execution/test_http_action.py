from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from services.actions.catalogue import Catalogue
from services.actions.core_pack import CORE_ACTIONS
from services.actions.guarded_client import open_client
from services.actions.http import HttpRunner
from services.actions.outcome import Call, Outcome
from services.actions.runners import Runners

Answer = Callable[[str, dict[str, str], bytes], bytes]


def reply(status: str, body: bytes = b"", kind: str = "application/json", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def echo(line: str, headers: dict[str, str], body: bytes) -> bytes:
    return reply("200 OK", orjson.dumps({"line": line, "headers": headers, "body": body.decode()}))


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(answer(lines[0], headers, body))
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def calling(*allowed: str, max_bytes: int = 10_000) -> AsyncIterator[Callable[..., Any]]:
    http = HttpRunner(partial(open_client, allowed), max_bytes=max_bytes)
    runners = Runners(Catalogue(CORE_ACTIONS), builtins={"http": http.perform})

    async def call(**given: Any) -> Outcome:
        wanted = Call(ref="core.http", input=given, key="e/n/0", traceparent="00-aa-bb-01")
        return await runners.perform(wanted, timeout_s=5)

    try:
        yield call
    finally:
        await http.close()


async def test_a_request_carries_its_idempotency_key_and_trace() -> None:
    async with serving(echo) as url, calling("127.0.0.1") as call:
        outcome = await call(url=f"{url}/x", method="POST", json={"b": 1, "a": 2}, params={"q": "1"})

    seen = outcome.output["body"]
    assert seen["line"] == "POST /x?q=1 HTTP/1.1"
    assert (seen["headers"]["idempotency-key"], seen["headers"]["traceparent"]) == ("e/n/0", "00-aa-bb-01")
    assert seen["body"] == '{"a":2,"b":1}'


async def test_a_loopback_address_is_refused_unless_it_is_named() -> None:
    async with serving(echo) as url, calling() as call:
        outcome = await call(url=url)

    assert outcome.error["type"] == "validation"
    assert "HTTP_ALLOW_HOSTS" in outcome.error["message"]


async def test_a_redirect_to_a_refused_address_is_refused() -> None:
    async with serving(echo) as inside:
        port = inside.rsplit(":", 1)[1]
        away = reply("302 Found", more=f"Location: http://localhost:{port}/secret\r\n")
        async with serving(lambda *_: away) as url, calling("127.0.0.2/32") as call:
            outcome = await call(url=url.replace("127.0.0.1", "localhost"))

    assert outcome.error["type"] == "validation"


async def test_an_unexpected_status_fails_with_the_answer_kept() -> None:
    async with serving(lambda *_: reply("503 Busy", b'{"why":"busy"}')) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url)

    assert (outcome.error["type"], outcome.error["details"]) == ("api_error", {"status": 503})
    assert outcome.output["body"] == {"why": "busy"}


async def test_an_expected_status_is_a_success() -> None:
    async with serving(lambda *_: reply("404 Not Found")) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, expected_status=[200, 404])

    assert outcome.output["status"] == 404


async def test_a_response_over_the_limit_is_cut_off() -> None:
    async with serving(lambda *_: reply("200 OK", b"x" * 20_000, "text/plain")) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url)

    assert outcome.error["type"] == "limit"


async def test_a_server_that_is_not_there_is_an_api_error() -> None:
    async with calling("127.0.0.1") as call:
        outcome = await call(url="http://127.0.0.1:1/")

    assert outcome.error["type"] == "api_error"


@pytest.mark.parametrize("url", ["ftp://example.org/", "http://", "not a url"])
async def test_a_url_that_is_none_is_a_validation_error(url: str) -> None:
    async with calling("127.0.0.1") as call:
        outcome = await call(url=url)

    assert outcome.error["type"] == "validation"
