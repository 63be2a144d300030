"""How much the server takes in at once. What is too much is told to come back before any of it is read or done.

Three kinds of guests: requests that are being worked on, requests that only wait for the end of an execution (or follow
its events), and large bodies on their way in. Each has its own bound, so that none keeps the others out. Those bounds are
for a machine that keeps up; one that does not is known by how late its event loop is, and takes in a few only. Whoever
asks after the server's health is always let in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from controllers.accepts import asks_for
from controllers.envelope import JSON, PROBLEM, Refusal, dumps, refusal_body
from models.records import uuid7
from services.errors import Overloaded

ALWAYS = frozenset(["/health", "/ready", "/metrics"])
MOST_BODY_BYTES = 256 * 1024 * 1024
"""Of all bodies together that do not arrive in one piece."""
UNKNOWN_BODY_BYTES = 16 * 1024 * 1024
FULL = "The server has more to do than it takes on at once"
FULL_OF_WAITERS = "As many requests wait for executions as the server allows; start without `wait` and look later"
RETRY_AFTER_S = 1
FEW = 64
"""So many guests are let in however late the loop is."""
LATE_S = 0.05
"""A request takes a dozen and more turns of the loop: this late, and it takes a second."""
BEAT_S = 0.05
HOLDS_S = 0.5
"""So long a late loop holds back its refusals: a client that takes no notice of them sends that much less."""
FORGETS = 0.85
"""What is left of an old lateness after a beat: after a second, a twentieth."""


class Pulse:
    """How late the event loop is, measured while there are many guests."""

    __slots__ = ("_timer", "late_s")

    def __init__(self) -> None:
        self.late_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_measured(self) -> bool:
        """Whether it is being measured now."""
        return self._timer is not None

    def measure(self, goes_on: Callable[[], bool]) -> None:
        """Measure now and then as long as `goes_on` says so."""
        if self._timer is None:
            self._expect(asyncio.get_running_loop(), goes_on)

    def _expect(self, loop: asyncio.AbstractEventLoop, goes_on: Callable[[], bool]) -> None:
        due = loop.time() + BEAT_S
        self._timer = loop.call_at(due, self._beat, loop, due, goes_on)

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float, goes_on: Callable[[], bool]) -> None:
        self.observe(loop.time() - due)
        if goes_on():
            self._expect(loop, goes_on)
        else:
            self._timer, self.late_s = None, 0.0

    def observe(self, late_s: float) -> None:
        """The loop came so late. Bad news counts at once and is forgotten slowly: else a crowd comes in between two."""
        self.late_s = max(late_s, self.late_s * FORGETS)


class Gate:
    """Counts who is inside. `most` requests worked on, `most_waiting` that wait for executions."""

    __slots__ = ("_most", "_most_waiting", "_on_refusal", "body_bytes", "inside", "pulse", "waiting")

    def __init__(
        self, *, most: int = 256, most_waiting: int = 256, on_refusal: Callable[[], None] = lambda: None
    ) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self._on_refusal = on_refusal
        self.inside = 0
        self.waiting = 0
        self.body_bytes = 0
        self.pulse = Pulse()

    def enter(self) -> None:
        """Count a guest that was let in; it leaves by `inside -= 1`."""
        self.inside += 1
        if self.inside + self.waiting > FEW:
            self.pulse.measure(self._has_many)

    def _has_many(self) -> bool:
        return self.inside + self.waiting > FEW // 2

    def obstacle(self, scope: Any) -> str | None:
        """Why a request cannot be let in now; None when it can."""
        late = self.is_late and self.inside + self.waiting >= FEW
        if (late or self.inside >= self._most) and scope["path"] not in ALWAYS:
            return FULL
        if self.waiting >= self._most_waiting and b"wait=" in scope["query_string"]:
            return FULL_OF_WAITERS
        return None

    @property
    def is_late(self) -> bool:
        """Whether the machine does not keep up."""
        return self.pulse.late_s > LATE_S

    def check_waiting(self) -> None:
        """Raise Overloaded when nobody more may wait."""
        if self.waiting >= self._most_waiting:
            self._on_refusal()
            raise Overloaded(FULL_OF_WAITERS, retry_after_s=RETRY_AFTER_S)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Be one who waits instead of one who is worked on."""
        self.inside -= 1
        self.waiting += 1
        try:
            yield
        finally:
            self.inside += 1
            self.waiting -= 1

    def takes_body(self, scope: Any) -> int | None:
        """Make room for a body that arrives in pieces: how much, to be given back; None when there is no room."""
        text = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        size = min(int(text), UNKNOWN_BODY_BYTES) if text.isdigit() else UNKNOWN_BODY_BYTES
        if self.body_bytes + size > MOST_BODY_BYTES:
            return None
        self.body_bytes += size
        return size

    def refusal(self, scope: Any, reason: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The two messages of the answer, in the shape of every error."""
        self._on_refusal()
        request_id = str(uuid7())
        wanted = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
        problem = asks_for(PROBLEM, wanted)
        refusal = Refusal(
            status=503,
            code=Overloaded.code,
            message=reason,
            details={},
            request_id=request_id,
            instance=scope["path"],
        )
        body = dumps(refusal_body(refusal, problem=problem))
        headers = [
            (b"content-type", (PROBLEM if problem else JSON).encode()),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % RETRY_AFTER_S),
            (b"x-request-id", request_id.encode()),
            (b"cache-control", b"no-store"),
        ]
        start = {"type": "http.response.start", "status": 503, "headers": headers}
        return start, {"type": "http.response.body", "body": body, "more_body": False}
