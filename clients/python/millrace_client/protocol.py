"""The conversation with the server, without input or output: what to send, what an answer means, when to retry.

Both clients, the synchronous and the asynchronous one, speak through this module, so that they cannot differ.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .errors import ApiError, NotConfigured

ENDED = frozenset({"completed", "failed", "cancelled"})
RETRIED = frozenset({429, 502, 503, 504})
LONGEST_WAIT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where the server is and how patient to be; times in seconds."""

    base_url: str
    api_key: str | None = None
    timeout_s: float = 10.0
    retries: int = 4
    backoff_s: float = 0.2
    max_backoff_s: float = 5.0

    @classmethod
    def of(cls, base_url: str | None = None, api_key: str | None = None, **options: Any) -> Config:
        """Fill what was not given from MILLRACE_URL (or REGISTRY_URL) and MILLRACE_API_KEY; NotConfigured without a URL."""
        url = base_url or os.environ.get("MILLRACE_URL") or os.environ.get("REGISTRY_URL")
        if not url:
            raise NotConfigured
        return cls(base_url=url.rstrip("/"), api_key=api_key or os.environ.get("MILLRACE_API_KEY"), **options)

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {"X-API-Key": self.api_key} if self.api_key else {}

    def delay(self, attempt: int, retry_after: str | None) -> float:
        """Seconds until the next try: what the server asked for, else exponential with jitter."""
        try:
            asked = float(retry_after or "")
        except ValueError:
            asked = 0.0
        pause = min(self.max_backoff_s, self.backoff_s * 2.0**attempt)
        return max(min(asked, 10 * self.max_backoff_s), pause * (0.5 + random.random() / 2))  # noqa: S311 - jitter


@dataclass(frozen=True, slots=True)
class Request:
    """One call; safe to repeat, because every creating call carries an idempotency key."""

    method: str
    path: str
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_timeout_s: float = 0.0


def _id(value: str) -> str:
    return quote(value, safe="@.")


def start(
    workflow: str, variables: Mapping[str, Any] | None, *, wait_s: float = 0, key: str | None = None, **body: Any
) -> Request:
    """Start an execution; `wait_s` (at most 60) asks the server to answer when it has ended."""
    wait = min(int(wait_s), LONGEST_WAIT_S)
    return Request(
        "POST",
        f"/api/v1/workflows/{_id(workflow)}/execute",
        {"variables": dict(variables or {}), **{k: v for k, v in body.items() if v is not None}},
        params={"wait": wait} if wait > 0 else {},
        headers={"Idempotency-Key": key or str(uuid.uuid4())},
        extra_timeout_s=wait,
    )


def get(execution_id: str) -> Request:
    """One execution with everything known of it."""
    return Request("GET", f"/api/v1/workflows/executions/{_id(execution_id)}", params={"include_metrics": "true"})


def cancel(execution_id: str) -> Request:
    """Cancel an execution."""
    return Request("POST", f"/api/v1/workflows/executions/{_id(execution_id)}/cancel")


def events(execution_id: str, after: int) -> Request:
    """The live event stream from `after` (a seq; -1 = from the beginning)."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after >= 0 else {})
    return Request("GET", f"/api/v1/workflows/executions/{_id(execution_id)}/events", headers=headers)


def log_runs(runs: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Request:
    """Record one run (an object) or up to 1,000 (an array); the server never counts a run twice."""
    return Request("POST", "/langgraph/hooks/log_run", runs)


def notify(workflow: str, run_data: Mapping[str, Any]) -> Request:
    """Tell the registry of a run."""
    return Request("POST", f"/workflows/{_id(workflow)}/runs/notify", dict(run_data))


def answer(status: int, body: bytes) -> Any:
    """The answer's object, without the envelope; ApiError for a refusal."""
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        parsed = {"message": body[:200].decode("utf-8", "replace")}
    if status >= 400:
        raise ApiError(status, parsed if isinstance(parsed, dict) else {"message": str(parsed)})
    enveloped = isinstance(parsed, dict) and parsed.get("success") is True and "data" in parsed
    return parsed["data"] if enveloped else parsed


@dataclass(slots=True)
class EventStream:
    """Parses server-sent events line by line; remembers the last id so that a lost connection can go on."""

    last_id: int = -1
    _data: list[str] = field(default_factory=list)
    _name: str = "message"

    def feed(self, line: str) -> Iterator[dict[str, Any]]:
        """One line without its end; yields `{"id", "event", "data"}` when it completes an event."""
        if line.startswith(":"):
            return
        if line:
            self._field(*line.partition(":")[::2])
            return
        if self._data:
            yield {"id": self.last_id, "event": self._name, "data": json.loads("\n".join(self._data))}
        self._data, self._name = [], "message"

    def _field(self, name: str, value: str) -> None:
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and value.lstrip("-").isdigit():
            self.last_id = int(value)
