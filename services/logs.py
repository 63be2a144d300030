"""Where log lines go, and in which form."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TextIO

from services.access.audit import AaaFormatter, JsonFormatter

LATEST_S = 0.05
MOST_LINES = 100
QUIET = ("pgqueuer", "pymilvus", "httpx", "httpcore", "httpx2", "openai", "asyncio", "uvicorn", "hypercorn", "quart")


def configure(*, level: str, form: str, module: str, stream: TextIO | None = None) -> logging.Handler:
    """Send every record of the process to `stream` (default stderr) as `aaa` or `json` lines."""
    handler = LineHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(module) if form == "json" else AaaFormatter(module))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    _record_less()
    return handler


def _record_less() -> None:
    """A line names neither thread, process nor source file: finding them out costs more than writing it."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    setattr(logging, "_srcfile", None)  # noqa: B010 - the documented switch (logging HOWTO, optimization)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes the lines of one moment together: at once when it matters, else at most 50 ms later.

    Where lines cannot be written (a full disk, a closed pipe) they are counted, and the server goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lost = 0
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001 - a line that cannot be written must not stop what it tells of
            self.handleError(record)
            return
        loop = asyncio._get_running_loop()  # noqa: SLF001 - None instead of an exception, in any thread
        if loop is None or record.levelno > logging.INFO or len(self._lines) >= MOST_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = loop.call_later(LATEST_S, self.flush)

    def flush(self) -> None:
        """Write what was taken."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        lines, self._lines = self._lines, []
        try:
            if lines:
                self.stream.write("\n".join(lines) + "\n")
            super().flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self.lost += len(lines)
            return
        if self.lost and lines:
            lost, self.lost = self.lost, 0
            facts = {"name": "millrace.log", "levelno": logging.WARNING, "levelname": "WARNING"}
            self.emit(logging.makeLogRecord({**facts, "msg": f"log.lost lines={lost}"}))
