"""Executions that bring their drivers down: after three take-overs without progress they are failed and set aside."""

from __future__ import annotations

import logging
from datetime import datetime

from models.executions import Claim
from models.records import ErrorType
from services.engine.events import Changed, Event, Finished, Troubled
from services.engine.graph import Failure
from services.engine.state import State
from services.engine.statuses import Change, Phase
from services.execution.book import Book
from services.execution.driver import Drive

log = logging.getLogger("millrace.dispatch")

MOST_TAKEOVERS = 3


def takeovers_of(claim: Claim, book: Book) -> int:
    """How often in a row this execution was taken over without having got any further; 0 when nobody died with it."""
    row = claim.row
    stuck = book.next_seq <= row.takeover_seq + 1
    if claim.previous is None:
        return row.takeovers if stuck else 0
    return row.takeovers + 1 if stuck else 1


async def quarantine(drive: Drive) -> None:
    """End an execution that nobody survives. It can be re-run; the operator finds it by its error type."""
    state, now = drive.book.state, drive.now()
    log.error("execution.quarantined execution=%s", drive.book.id)
    message = f"{MOST_TAKEOVERS} workers ended while driving this execution and it got no further"
    failure = Failure(type=ErrorType.INTERRUPTED, message=message)
    await drive.finish_with(given_up(state, "quarantined", failure, now))


def given_up(state: State, kind: str, failure: Failure, now: datetime) -> list[Event]:
    """How an execution ends by a decision from outside the engine: failed, or cancelled when it was on its way there."""
    events: list[Event] = [Troubled(kind=kind, at=now, failure=failure, fatal=True)]
    if state.phase not in (Phase.FAILING, Phase.CANCELLING):
        events.append(Changed(change=Change.FAIL, at=now))
    ends = Phase.CANCELLED if state.phase is Phase.CANCELLING else Phase.FAILED
    return [*events, Finished(phase=ends, at=now, failure=failure)]


def unreadable(kind: str, failure: Failure, now: datetime) -> list[Event]:
    """The same for an execution whose state nobody can tell."""
    return [
        Troubled(kind=kind, at=now, failure=failure, fatal=True),
        Finished(phase=Phase.FAILED, at=now, failure=failure),
    ]
