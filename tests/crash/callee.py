"""What the workflows under test call: it remembers every call by its idempotency key, and takes as long as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Seen:
    """One call: when it came (monotonic seconds), where, and its body."""

    at: float
    path: str
    body: bytes


class Callee:
    """An HTTP server on a loop of its own. `/flaky` refuses a key the first time; `{"ms": n}` in a body takes n ms."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Seen]] = {}
        self.total = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def keys(self, path: str) -> list[str]:
        """The keys seen at a path."""
        return [key for key, seen in list(self.calls.items()) if seen[0].path == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                    body = await reader.readexactly(int(fields.get("content-length", 0)))
                    status, answer = await self._answer(head[0].split(" ")[1], fields.get("idempotency-key", ""), body)
                    data = orjson.dumps(answer)
                    writer.write(
                        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                        + data
                    )
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, path: str, key: str, body: bytes) -> tuple[int, dict[str, object]]:
        self.total += 1
        serial = self.total
        seen = self.calls.setdefault(key, [])
        seen.append(Seen(time.monotonic(), path, body))
        refused = path == "/flaky" and len(seen) == 1
        await asyncio.sleep(orjson.loads(body).get("ms", 0) / 1000)
        return (503, {"busy": True}) if refused else (200, {"serial": serial})

    def close(self) -> None:
        """Stop listening."""

        async def stop() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._do(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
