"""The right to drive the executions of one SQLite file: an OS lock that ends with the process that holds it.

The file says who that is and where it answers requests, so that a command can ask it instead of writing beside it.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GLANCES, GLANCE_S = 5, 0.02
"""Who only looks at the lock holds it for a moment, so one refusal is not the last word."""


class DatabaseLocked(Exception):
    """Another process drives the executions of this database file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"another server uses {path.with_suffix('')} already: it holds {path}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lock. `address`: where it answers requests, None when it does not (yet)."""

    pid: int | None = None
    address: str | None = None


class FileLock:
    """The lock of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._address = ""

    def take(self) -> None:
        """Lock, or raise DatabaseLocked. Taking it again changes nothing."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(GLANCES):
            if self._file is not None or self._tried():
                return
            time.sleep(GLANCE_S)
        raise DatabaseLocked(self._path)

    def _tried(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        self._write(self._text())
        return True

    def note(self, address: str) -> None:
        """Say where requests are answered; now, or as soon as the lock is taken."""
        self._address = address
        if self._file is not None:
            self._write(self._text())

    def release(self) -> None:
        """Let somebody else drive."""
        if self._file is not None:
            self._write("")
            os.close(self._file)
            self._file = None

    def _text(self) -> str:
        return f"{os.getpid()}\n{self._address}\n"

    def _write(self, text: str) -> None:
        assert self._file is not None
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock of that file now, None when nobody does. An empty file is not even tried."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        written = os.read(file, 1024).decode("utf-8", "replace").split("\n")
        if not written[0]:
            return None
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return Holder(pid=int(written[0]) if written[0].isdecimal() else None, address=_address(written))
    finally:
        os.close(file)
    return None


def _address(written: list[str]) -> str | None:
    return written[1] if len(written) > 1 and written[1] else None
