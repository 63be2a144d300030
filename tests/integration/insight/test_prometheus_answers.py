"""The Prometheus adapter against a server that answers everything Prometheus can, and what it cannot."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from services.access.actor import SYSTEM
from services.adapters.prometheus import Prometheus
from services.errors import BadRequest, Unavailable
from services.insight.compute import probe
from services.insight.sources import Fetched, Wanted

NOW = datetime(2026, 1, 17, 12, tzinfo=UTC)
EMPTY = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'


@asynccontextmanager
async def server(status, body, *, delay=0.0):
    """A web server with one answer; yields its URL and the requests it got."""
    seen, busy = [], set()

    async def handle(reader, writer):
        busy.add(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        seen.append((head, await reader.readexactly(length)))
        try:
            await asyncio.sleep(delay)
        except asyncio.CancelledError:
            writer.close()
            return
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", seen
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


def wanted(query="up", minutes=60):
    return Wanted(query=query, start=NOW - timedelta(minutes=minutes), end=NOW, step_s=60, actor=SYSTEM)


async def asked(url, **more):
    client = Prometheus(url, **more)
    try:
        return await client.fetch(wanted())
    finally:
        await client.close()


async def test_a_range_is_asked_for_with_the_authorization_given():
    async with server(200, EMPTY) as (url, seen):
        await asked(url + "/prefix/", authorization="Bearer token")

    [(head, form)] = seen
    assert head.startswith(b"POST /prefix/api/v1/query_range ")
    assert b"authorization: bearer token" in head.lower()
    assert b"query=up" in form
    assert b"step=60" in form


@pytest.mark.parametrize("status", [400, 422])
async def test_a_query_prometheus_refuses_is_refused_in_its_own_words(status):
    body = b'{"status":"error","errorType":"bad_data","error":"1:4: parse error: unclosed left bracket"}'

    async with server(status, body) as (url, _):
        with pytest.raises(BadRequest, match="unclosed left bracket"):
            await asked(url)


@pytest.mark.parametrize(
    ("status", "body"), [(503, b'{"error":"starting"}'), (401, b"no"), (400, b"<html>"), (500, b"")]
)
async def test_any_other_answer_means_it_is_not_available(status, body):
    async with server(status, body) as (url, _):
        with pytest.raises(Unavailable, match=str(status)):
            await asked(url)


async def test_a_server_that_is_not_there_or_too_slow_is_not_available():
    async with server(200, EMPTY, delay=5) as (url, _):
        with pytest.raises(Unavailable, match="Timeout"):
            await asked(url, timeout_s=0.2)

    with pytest.raises(Unavailable, match="cannot be reached"):
        await asked(url)


def test_values_that_are_no_numbers_and_series_without_a_name_are_read():
    values = ",".join(
        f'[{1_700_000_000 + 60 * n},"{v}"]' for n, v in enumerate(["NaN", "+Inf", "-Inf", *map(str, range(70))])
    )
    body = f'{{"data":{{"result":[{{"metric":{{"job":"a"}},"values":[{values}]}}]}}}}'

    [found] = probe("zscore", Fetched(source="prometheus", prometheus=body.encode()))

    assert (found.metric, found.key, found.points) == ("", '{job="a"}', 70)


@pytest.mark.parametrize(
    "body", [b"{}", b"no json", b'{"data":{"result":[1]}}', b'{"data":{"result":[{"metric":{},"values":[["a","b"]]}]}}']
)
def test_an_answer_of_another_shape_is_refused(body):
    with pytest.raises(BadRequest, match="no range of values"):
        probe("auto", Fetched(source="prometheus", prometheus=body))
