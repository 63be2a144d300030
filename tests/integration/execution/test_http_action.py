from __future__ import annotations

import asyncio
import gzip
import zlib
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
            await writer.wait_closed()

    async with listening(handle) as url:
        yield url


@asynccontextmanager
async def listening(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """The URL of a server that ends after every connection it accepted has."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=5)


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


async def test_the_log_line_names_neither_credentials_nor_query() -> None:
    async with serving(echo) as url, calling("127.0.0.1") as call:
        outcome = await call(url=f"{url.replace('//', '//user:pw@')}/x?token=t")

    assert [line["message"] for line in outcome.logs] == [f"GET {url}/x -> 200"]


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


# ---- redirects -------------------------------------------------------------------------------------------------------

PRIVATE = {"Authorization": "Bearer s", "X-API-Key": "s", "Cookie": "s", "Accept": "text/plain"}


def away(to: str, status: str = "302 Found") -> Answer:
    return lambda *_: reply(status, more=f"Location: {to}\r\n")


async def test_a_redirect_to_another_origin_carries_nothing_private() -> None:
    async with serving(echo) as other, serving(away(f"{other}/x")) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, headers=PRIVATE)

    seen = outcome.output["body"]["headers"]
    assert seen.keys() <= {"host", "accept", "accept-encoding", "user-agent", "traceparent"}
    assert seen["accept"] == "text/plain"


async def test_a_redirect_within_the_origin_keeps_what_was_given() -> None:
    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        return echo(line, headers, body) if " /there " in line else away("/there", "307 Again")(line, headers, body)

    async with serving(answer) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, method="POST", headers=PRIVATE, json={"a": 1})

    seen = outcome.output["body"]
    assert (seen["line"], seen["body"]) == ("POST /there HTTP/1.1", '{"a":1}')
    assert (seen["headers"]["x-api-key"], seen["headers"]["idempotency-key"]) == ("s", "e/n/0")


async def test_a_body_is_not_sent_on_to_another_origin() -> None:
    seen = []

    def note(line: str, headers: dict[str, str], body: bytes) -> bytes:
        seen.append(line)
        return echo(line, headers, body)

    async with serving(note) as other, serving(away(other, "307 Again")) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, method="POST", json={"token": "s"})

    assert outcome.error["type"] == "api_error"
    assert seen == []


async def test_redirects_without_end_are_given_up() -> None:
    async with serving(away("/again")) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url)

    assert (outcome.error["type"], "redirects" in outcome.error["message"]) == ("api_error", True)


async def test_a_redirect_can_be_left_alone() -> None:
    async with serving(away("/x")) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, follow_redirects=False)

    assert (outcome.output["status"], outcome.output["headers"]["location"]) == (302, "/x")


async def test_a_host_that_is_gone_behind_a_redirect_does_not_repeat_the_first_request() -> None:
    seen = []

    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        seen.append(line)
        return away("http://127.0.0.1:1/", "303 Look")(line, headers, body)

    async with serving(answer) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, method="POST", json={})

    assert outcome.error["type"] == "api_error"
    assert len(seen) == 1


# ---- what must not get through ---------------------------------------------------------------------------------------


async def test_a_cookie_of_one_call_is_not_sent_with_another() -> None:
    def answer(line: str, headers: dict[str, str], body: bytes) -> bytes:
        return reply("200 OK", orjson.dumps(headers), more="Set-Cookie: session=of-somebody; Path=/\r\n")

    async with serving(answer) as url, calling("127.0.0.1") as call:
        await call(url=url)
        outcome = await call(url=url)

    assert "cookie" not in outcome.output["body"]


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"X": "a\r\nEvil: 1"}},
        {"headers": {"X\r\nEvil": "1"}},
        {"headers": {"X": "a\0b"}},
        {"headers": {"X Y": "1"}},
        {"headers": {"X": "\u2028"}},
    ],
)
async def test_a_header_cannot_carry_another_one(given: dict[str, Any]) -> None:
    seen = []

    def note(line: str, headers: dict[str, str], body: bytes) -> bytes:
        seen.append(headers)
        return echo(line, headers, body)

    async with serving(note) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, **given)

    assert outcome.error["type"] == "validation"
    assert seen == []


async def test_a_line_break_in_a_url_reaches_nobody_as_one() -> None:
    async with serving(echo) as url, calling("127.0.0.1") as call:
        outcome = await call(url=f"{url}/a\r\nEvil: 1", params={"q": "b\r\nEvil: 1"})

    assert outcome.error is not None or "evil" not in outcome.output["body"]["headers"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_small_body_that_unpacks_to_a_large_one_is_cut_off(coding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000)) if coding == "gzip" else zlib.compress(bytes(10_000_000))

    def answer(*_: Any) -> bytes:
        return reply("200 OK", bomb, "text/plain", f"Content-Encoding: {coding}\r\n")

    async with serving(answer) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url)

    assert outcome.error["type"] == "limit"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"hello ") + gzip.compress(b"there")),
        ("x-gzip", gzip.compress(b"hello there")),
        ("deflate", zlib.compress(b"hello there")),
        ("deflate", zlib.compress(b"hello there")[2:-4]),
        ("identity", b"hello there"),
    ],
    ids=["two members", "by its other name", "zlib", "raw", "not at all"],
)
async def test_a_packed_body_is_unpacked(coding: str, body: bytes) -> None:
    def answer(*_: Any) -> bytes:
        return reply("200 OK", body, "text/plain", f"Content-Encoding: {coding}\r\n")

    async with serving(answer) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url)

    assert outcome.output["body"] == "hello there"


@pytest.mark.parametrize(("coding", "says"), [("br", "unknown content encoding"), ("gzip", "not packed as it says")])
async def test_a_body_that_is_packed_otherwise_is_an_api_error(coding: str, says: str) -> None:
    def answer(*_: Any) -> bytes:
        return reply("200 OK", b"\xff\xfe nonsense", "text/plain", f"Content-Encoding: {coding}\r\n")

    async with serving(answer) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url)

    assert outcome.error["type"] == "api_error"
    assert says in outcome.error["message"]


@pytest.mark.parametrize("charset", ["hex", "idna", "unicode_escape", "nonsense", ""])
async def test_a_strange_charset_is_read_as_utf_8(charset: str) -> None:
    body = "grüße \\u0041".encode()

    async with (
        serving(lambda *_: reply("200 OK", body, f"text/plain; charset={charset}")) as url,
        calling("127.0.0.1") as call,
    ):
        outcome = await call(url=url)

    assert outcome.output["body"] == "grüße \\u0041"


async def test_an_answer_that_trickles_has_no_more_time_than_one_that_does_not_come() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)
        await writer.wait_closed()

    async with listening(trickle) as url, calling("127.0.0.1") as call:
        outcome = await call(url=url, timeout_seconds=0.3)

    assert outcome.error["type"] == "timeout"


async def test_a_name_is_resolved_once_and_the_address_that_was_checked_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    async def answered(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(2, 1, 6, "", (address, port))]

    async with serving(echo) as url, calling("127.0.0.0/8") as call:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answered, raising=False)
        first = await call(url=url.replace("127.0.0.1", "rebinds.test"))
        again = await call(url=url.replace("127.0.0.1", "rebinds.test"))
        refused = await call(url="http://rebinds.test:1/")

    assert (first.output["status"], again.output["status"]) == (200, 200)
    assert asked == ["rebinds.test", "rebinds.test"]
    assert refused.error["type"] == "validation"
