"""A run as its runner reports it: what is accepted, what it is called here, and how two reports of it combine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from models.records import RunStatus
from services.errors import Invalid
from services.formats import times

ALIASES: Mapping[str, RunStatus] = {
    "success": RunStatus.COMPLETED,
    "succeeded": RunStatus.COMPLETED,
    "error": RunStatus.FAILED,
    "timeout": RunStatus.FAILED,
}
RANK: Mapping[str, int] = {
    RunStatus.RUNNING: 0,
    RunStatus.INTERRUPTED: 1,  # waits for a person; may still end
    RunStatus.COMPLETED: 2,
    RunStatus.FAILED: 2,
    RunStatus.CANCELLED: 2,
}
LARGEST_BIGINT = 2**63 - 1


def _rounded(value: object) -> object:
    if isinstance(value, float) and abs(value) < LARGEST_BIGINT:  # false for NaN
        return round(value)
    return value


def _time(value: object) -> object:
    return times.read(value) if isinstance(value, str) else value


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Identifier = Annotated[str, Field(min_length=1, max_length=512)]
Moment = Annotated[datetime, Field(strict=True), BeforeValidator(_time), AfterValidator(_utc)]
Duration = Annotated[int, BeforeValidator(_rounded), Field(strict=True, ge=0, le=LARGEST_BIGINT)]
ReportedStatus = Literal[
    "completed", "failed", "running", "cancelled", "interrupted", "success", "succeeded", "error", "timeout"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One report of one run. A field that is None was not reported; a time without a zone is UTC."""

    wpk_id: Identifier
    run_id: Identifier
    status: ReportedStatus
    inputs: Any = None
    outputs: Any = None
    duration_ms: Duration | None = None
    node_logs: list[Any] | None = None
    created_at: Moment | None = None
    error: Annotated[str, Field(max_length=100_000)] | None = None
    community_id: Annotated[int, Field(strict=True, ge=1, le=LARGEST_BIGINT)] | None = None

    @property
    def canonical(self) -> RunStatus:
        """The status in our words."""
        return ALIASES.get(self.status) or RunStatus(self.status)

    @property
    def reported_status(self) -> str | None:
        """The runner's own word, where it is not ours."""
        return self.status if self.status in ALIASES else None


@cache
def _adapter() -> TypeAdapter[Run]:
    return TypeAdapter(Run)


def parse_run(body: object, *, where: tuple[str | int, ...] = ()) -> Run:
    """The run that `body` (a JSON object) reports; Invalid with every problem and its place. Unknown fields are ignored."""
    try:
        return _adapter().validate_python(body)
    except ValidationError as error:
        problems: list[dict[str, Any]] = [
            {"loc": [*where, *p["loc"]], "message": _message(p["type"], p["loc"], p["msg"]), "type": p["type"]}
            for p in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise Invalid("; ".join(p["message"] for p in problems[:5]), errors=problems) from None


def _message(kind: str, loc: tuple[int | str, ...], text: str) -> str:
    name = ".".join(map(str, loc)) or "run"
    return f"Missing required field: {name}" if kind == "missing" else f"{name}: {text.removeprefix('Value error, ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the table knows of a run, as far as a further report can change it."""

    status: str
    reported_status: str | None
    duration_ms: int | None
    created_at: datetime
    error: str | None


def merge(stored: Stored, run: Run) -> Stored:
    """The run after a further report: the status only goes forward; what is not reported again stays."""
    if RANK[run.canonical] < RANK[stored.status]:
        return stored
    return replace(
        stored,
        status=str(run.canonical),
        reported_status=run.reported_status,
        duration_ms=stored.duration_ms if run.duration_ms is None else run.duration_ms,
        error=run.error if run.error is not None or run.canonical == RunStatus.COMPLETED else stored.error,
    )


def is_newer(at: datetime, than: datetime | None) -> bool:
    """Whether a run created `at` is the latest of its workflow; among equal times the later arrival is."""
    return than is None or at >= than


def text_of(outputs: Any, error: str | None = None, *, limit: int = 8_000) -> str:
    """What a run says, as text to be searched: `outputs.text` where there is one, else the outputs; then the error."""
    text = outputs.get("text") if isinstance(outputs, dict) else None
    if not isinstance(text, str):
        text = outputs if isinstance(outputs, str) else _json(outputs)
    return "\n".join(part for part in (text, error) if part)[:limit]


def _json(value: Any) -> str:
    return "" if value is None or value in ({}, []) else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
