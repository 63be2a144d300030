"""The attempts of one driven execution that are under way in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from models.records import Effect
from services.engine.commands import InterruptAttempt, Perform
from services.engine.events import Logged
from services.engine.inputs import AttemptEnded
from services.execution.attempts import Attempt, Attempts, Key
from services.execution.book import Book

log = logging.getLogger("millrace.driver")

STOP_S = 5.0


def _nobody(_ended: AttemptEnded) -> None:
    """Whom a stopped drive tells."""


class InFlight:
    """Begins, interrupts and gives up attempts."""

    def __init__(
        self,
        attempts: Attempts,
        tasks: asyncio.TaskGroup,
        *,
        report: Callable[[AttemptEnded], None],
        given_up: Callable[[], None],
    ) -> None:
        """`report` is told how each attempt ended, `given_up` that one has stopped of which nothing is said."""
        self._attempts = attempts
        self._tasks = tasks
        self._report = report
        self._given_up = given_up
        self._running: dict[Key, tuple[asyncio.Task[None], Effect]] = {}
        self._leaving = False
        self._lines: list[Logged] = []

    def __bool__(self) -> bool:
        return bool(self._running)

    def __contains__(self, key: object) -> bool:
        return key in self._running

    def perform(self, book: Book, command: Perform) -> None:
        """Begin an attempt."""
        attempt = self._attempts.begin(book, command)
        if attempt.outcome is not None:
            self._keep_lines(attempt)
            self._report(self._attempts.ended(book, command, attempt.outcome))
        else:
            key = (command.node, command.run, command.item)
            task = self._tasks.create_task(self._attend(key, book, attempt))
            self._running[key] = (task, command.effect)

    def ride(self, book: Book, command: Perform) -> AttemptEnded | None:
        """Perform at once what has no effect and no waiting in it; None when it is anything else."""
        if not self._attempts.ends_at_once(command):
            return None
        attempt = self._attempts.begin(book, command)
        assert attempt.outcome is not None
        self._keep_lines(attempt)
        return self._attempts.ended(book, command, attempt.outcome)

    def interrupt(self, command: InterruptAttempt) -> None:
        """Stop an attempt; one that never began here has ended all the same."""
        key = (command.node, command.run, command.item)
        running = self._running.get(key)
        if running is not None:
            running[0].cancel()
        else:
            self._report(self._attempts.cancelled(key, command.attempt))

    def leave(self) -> None:
        """Stop everything but what is irreversible; nothing is said of it, because it will be made again elsewhere."""
        self._leaving = True
        for task, effect in self._running.values():
            if effect is not Effect.IRREVERSIBLE:
                task.cancel()

    async def stop(self) -> None:
        """Leave nothing running."""
        self._leaving = True
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)
        self._report = _nobody

    def take_lines(self) -> list[Logged]:
        """What actions have written into their logs since this was asked last."""
        lines, self._lines = self._lines, []
        return lines

    async def _attend(self, key: Key, book: Book, attempt: Attempt) -> None:
        ended: AttemptEnded | None = None
        try:
            ended = await self._attempts.finish(book, attempt)
            self._keep_lines(attempt)
        except asyncio.CancelledError:
            if not self._leaving:
                ended = self._attempts.cancelled(key, attempt.command.attempt)
        except Exception as error:  # the worker loop: an attempt that breaks must not end the other executions
            log.exception("attempt.broken execution=%s node=%s attempt=%d", book.id, key[0], attempt.command.attempt)
            ended = self._attempts.broken(key, attempt.command.attempt, error)
        finally:
            self._running.pop(key, None)
        if ended is None:
            self._given_up()
        else:
            self._report(ended)

    def _keep_lines(self, attempt: Attempt) -> None:
        if attempt.call.logs:
            self._lines.append(self._attempts.lines(attempt))
