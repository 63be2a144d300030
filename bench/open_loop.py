"""A client that sends at a fixed rate whatever the answers: python -m bench.open_loop URL RATE SECONDS CONNECTIONS BODY.

Prints one JSON object. A request that is due while every connection still waits for an answer is not sent and counted
as `held`: so many connections is all that a client of this kind has.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter, deque
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.processes import HEADERS

TICK_S = 0.005
PATIENCE_S = 30.0


class Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._text = b""
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for the first request."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none by its class
        self._crowd.idle.append(self)

    def send(self, request: bytes) -> None:
        """Send one request."""
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer when it is whole."""
        self._text += data
        head, found, body = self._text.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        if len(body) >= length:
            self._text = b""
            self._crowd.answered(lines, time.perf_counter() - self._sent_at)
            self._crowd.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed it."""
        del exc
        self._crowd.lost += 1
        if self in self._crowd.idle:
            self._crowd.idle.remove(self)


class Crowd:
    """All connections, and what they were answered."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.idle: deque[Client] = deque()
        self.statuses: Counter[int] = Counter()
        self.took_s: list[float] = []
        self.without_retry_after = 0
        self.held = 0
        self.lost = 0

    def answered(self, lines: list[bytes], took_s: float) -> None:
        """Count an answer."""
        status = int(lines[0].split()[1])
        self.statuses[status] += 1
        if status < 300:
            self.took_s.append(took_s)
        elif not any(line.startswith(b"retry-after:") for line in lines):
            self.without_retry_after += 1

    async def send(self, rate: float, seconds: float) -> None:
        """Send at this rate for so long."""
        began, due = time.perf_counter(), 0
        while (now := time.perf_counter() - began) < seconds:
            owed = int(now * rate) - due
            due += owed
            for _ in range(min(owed, len(self.idle))):
                self.idle.popleft().send(self._request)
                owed -= 1
            self.held += owed
            await asyncio.sleep(TICK_S)

    def report(self, seconds: float) -> str:
        """What happened, as JSON."""
        tail = statistics.quantiles(self.took_s, n=100)[98] if len(self.took_s) > 1 else None
        return json.dumps(
            {
                "accepted_per_s": sum(n for status, n in self.statuses.items() if status < 300) / seconds,
                "refused_per_s": sum(self.statuses[status] for status in (429, 503)) / seconds,
                "other": sum(n for status, n in self.statuses.items() if status >= 300 and status not in (429, 503)),
                "without_retry_after": self.without_retry_after,
                "accepted_p99_s": tail,
                "held_per_s": self.held / seconds,
                "lost": self.lost,
            }
        )


async def run(url: str, rate: float, seconds: float, connections: int, body: str) -> Crowd:
    """Send, then wait for the answers that are still due."""
    parts = urlsplit(url)
    head = f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    crowd = Crowd(f"{head}\r\n{body}".encode())
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Client(crowd), parts.hostname, parts.port)
    await crowd.send(rate, seconds)
    end = time.perf_counter() + PATIENCE_S
    while len(crowd.idle) + crowd.lost < connections and time.perf_counter() < end:
        await asyncio.sleep(TICK_S)
    return crowd


def main() -> None:
    """Run from the command line."""
    url, rate, seconds, connections, body = sys.argv[1:]
    crowd = uvloop.run(run(url, float(rate), float(seconds), int(connections), body))
    print(crowd.report(float(seconds)), flush=True)


if __name__ == "__main__":
    main()
