"""AAA logging: one entry, two forms. A line for people and machines, a row for the record."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from msgspec import Struct, field

import models.audit
from models.dal import AsyncDAL, Call
from models.records import uuid7, uuid7_text, uuid_text
from services import lines
from services.access.actor import Actor

LOGGER = "millrace.aaa"
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
"""The request on whose behalf the current task works; `-` outside one."""
DENIAL_NOTED: ContextVar[bool] = ContextVar("denial_noted", default=False)
"""Whether the current request has a denial in the record already."""
log = logging.getLogger(LOGGER)


def _current_request() -> str | None:
    current = REQUEST_ID.get()
    return None if current == "-" else current


class Category(StrEnum):
    """What an entry is about."""

    AUTH = "AUTH"
    AUTHZ = "AUTHZ"
    AUDIT = "AUDIT"
    ERROR = "ERROR"
    SYSTEM = "SYSTEM"


class Result(StrEnum):
    """How it ended."""

    SUCCESS = "SUCCESS"
    ALLOWED = "ALLOWED"
    DENIED = "DENIED"
    FAILURE = "FAILURE"


LEVEL = {
    Result.SUCCESS: logging.INFO,
    Result.ALLOWED: logging.INFO,
    Result.DENIED: logging.WARNING,
    Result.FAILURE: logging.ERROR,
}


class Entry(Struct, frozen=True, kw_only=True):
    """One thing that was asked, decided or done. Never carries a secret.

    `as_admin`: an administrator did it to what is not theirs; the row names it in its details.
    """

    category: Category
    action: str
    result: Result
    actor: Actor | None = None
    community_id: int | None = None
    workflow_id: UUID | None = None
    resource: str | None = None
    reason: str | None = None
    request_id: str | None = field(default_factory=_current_request)
    details: dict[str, Any] = field(default_factory=dict)
    as_admin: bool = False

    @property
    def community(self) -> int | None:
        """The community of the thing, else the one the key is limited to."""
        if self.community_id is not None or self.actor is None:
            return self.community_id
        return self.actor.community_id

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the row has in `details`; None when that is nothing."""
        return {**self.details, "as": "admin"} if self.as_admin else self.details or None

    def columns(self, *, row_id: UUID, at: datetime) -> dict[str, Any]:
        """The values of its row in `audit_log`."""
        return {
            "id": row_id,
            "at": at,
            "category": self.category.value,
            "action": self.action,
            "result": self.result.value,
            "actor_id": self.actor.user_id if self.actor else None,
            "key_id": self.actor.key_id if self.actor else None,
            "community_id": self.community,
            "workflow_id": self.workflow_id,
            "resource": self.resource,
            "reason": self.reason,
            "request_id": self.request_id,
            "details": self.facts,
        }


def say(entry: Entry) -> None:
    """Write the entry as a log line."""
    level = LEVEL[entry.result]
    if log.isEnabledFor(level):
        log.handle(EntryRecord(entry, level))


class EntryRecord(logging.LogRecord):
    """A log record that is made in a fifth of the time: where it was written from and by which thread is not found out."""

    def __init__(self, entry: Entry, level: int) -> None:
        self.__dict__.update(_RECORD)
        self.created = time.time()
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.msg = entry.action
        self.entry = entry


_RECORD = logging.LogRecord(LOGGER, logging.INFO, "", 0, "", None, None).__dict__
"""What is the same in all of them."""


class AuditLog:
    """The one function that writes the record: `await audit.write(entry)`."""

    def __init__(self, db: AsyncDAL, *, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now

    async def write(self, entry: Entry) -> None:
        """Add the row, in the caller's transaction when there is one, and say the line."""
        await self.call(entry)
        say(entry)
        if entry.result is Result.DENIED:
            DENIAL_NOTED.set(True)

    def call(self, entry: Entry) -> Call[int]:
        """The row as a statement for the caller's `db.batch`; `say` the entry when that has succeeded."""
        return models.audit.insert(self._db, self.values(entry))

    def values(self, entry: Entry) -> dict[str, Any]:
        """The row, for callers that write it themselves; they `say` it afterwards."""
        return entry.columns(row_id=uuid7(), at=self._now())

    def bulk(self, entry: Entry) -> tuple[Any, ...]:
        """The row for the statement `AUDIT` of a grouped commit; its caller `say`s it afterwards."""
        actor = entry.actor
        key_id = None if actor is None else actor.key_id
        return (
            uuid7_text(),
            self._now(),
            entry.category.value,
            entry.action,
            entry.result.value,
            None if actor is None else actor.user_id,
            None if key_id is None else uuid_text(key_id),
            entry.community,
            None if entry.workflow_id is None else uuid_text(entry.workflow_id),
            entry.resource,
            entry.reason,
            entry.request_id,
            entry.facts,
        )


# ---- the two forms of a line ---------------------------------------------------------------------------------------


class AaaFormatter(logging.Formatter):
    """`[time] LEVEL module CATEGORY community=… user=… action=… result=… reason=…`; `-` for a missing value."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.module = module

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the values contain."""
        head = f"[{_moment(record)}] {record.levelname} {self.module}"
        entry = getattr(record, "entry", None)
        if isinstance(entry, Entry):
            return f"{head} {_entry_text(entry)}"
        return f"{head} {_record_text(self, record)}"


class JsonFormatter(logging.Formatter):
    """The same facts, one JSON object a line."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.module = module

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the values contain."""
        line: dict[str, Any] = {"time": _moment(record), "level": record.levelname, "module": self.module}
        entry = getattr(record, "entry", None)
        if isinstance(entry, Entry):
            line |= {"category": entry.category.value, **dict(_facts(entry))}
        else:
            failed = record.levelno >= logging.ERROR
            line |= {"category": "ERROR" if failed else "SYSTEM", "logger": record.name} | _told(self, record)
        return json.dumps(line, default=str)


def _record_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    failed = record.levelno >= logging.ERROR
    facts = _told(formatter, record)
    action = facts.pop("event", record.name)
    facts = {"community": None, "user": None, "action": action, "result": "FAILURE" if failed else None} | facts
    return ("ERROR " if failed else "SYSTEM ") + " ".join(f"{name}={_value(value)}" for name, value in facts.items())


def _told(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    """What an ordinary record says, and on whose behalf; a value's own name wins over what is bound."""
    told = lines.told(record)
    bound = {"execution": lines.EXECUTION_ID.get(), "request_id": _current_request()}
    trace = formatter.formatException(record.exc_info) if record.exc_info else None
    facts = {"event": told.event} | bound | told.facts | {"message": told.words or None}
    if trace is not None:
        facts["traceback"] = trace
    return {name: value for name, value in facts.items() if value is not None}


def _entry_text(entry: Entry) -> str:
    """The facts of an entry in order. What comes from outside goes through `_value`; numbers and our own words need not."""
    community, workflow = entry.community, entry.workflow_id
    text = (
        f"{entry.category.value} community={'-' if community is None else community} user={_value(_user(entry))}"
        f" action={_word(entry.action)} result={entry.result.value}"
    )
    if entry.reason is not None:
        text += f" reason={_word(entry.reason)}"
    if workflow is not None:
        text += f" workflow={uuid_text(workflow)}"
    if entry.resource is not None:
        text += f" resource={_value(entry.resource)}"
    return text if entry.request_id is None else f"{text} request_id={_value(entry.request_id)}"


def _user(entry: Entry) -> int | str | None:
    return None if entry.actor is None else entry.actor.user_id or entry.actor.name or None


def _facts(entry: Entry) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [
        ("community", entry.community),
        ("user", _user(entry)),
        ("action", entry.action),
        ("result", entry.result.value),
    ]
    optional = [
        ("reason", entry.reason),
        ("workflow", entry.workflow_id),
        ("resource", entry.resource),
        ("request_id", entry.request_id),
    ]
    return facts + [(name, value) for name, value in optional if value is not None]


_PLAIN = re.compile(r"[!#-<>-~]+")  # printable ASCII without blank, quote and equals sign: the usual value


def _value(value: Any) -> str:
    """A value without a blank stands as it is; others are quoted, so that no value can forge a field."""
    if value is None:
        return "-"
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    text = lines.escape(text)
    if text and not any(char in ' "=' for char in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_word = lru_cache(maxsize=1024)(_value)
"""The same for texts of which there are few."""


def _moment(record: logging.LogRecord) -> str:
    return _second(int(record.created))


@lru_cache(maxsize=4)
def _second(since_1970: int) -> str:
    return datetime.fromtimestamp(since_1970, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
