"""The log may fail; what it tells of goes on."""

from __future__ import annotations

import logging

import pytest

from services.access.audit import AaaFormatter
from services.logs import LineHandler


class Disk:
    """A stream on a disk that may be full."""

    def __init__(self) -> None:
        self.full = False
        self.text = ""

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        self.text += text
        return len(text)

    def flush(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def log(disk):
    handler = LineHandler(disk)
    handler.setFormatter(AaaFormatter("millrace"))
    found = logging.getLogger("test.logs")
    found.propagate = False
    found.addHandler(handler)
    yield found
    found.removeHandler(handler)


def test_a_full_disk_under_the_log_stops_nothing(disk, log):
    disk.full = True

    log.warning("first")
    log.error("second")

    assert disk.text == ""


def test_the_log_says_how_much_of_it_is_missing(disk, log):
    disk.full = True
    log.warning("first")
    log.warning("second")
    disk.full = False

    log.warning("third")
    log.warning("fourth")

    lines = disk.text.splitlines()
    assert [line.rpartition("message=")[2] for line in lines] == ["third", '"lines=2"', "fourth"]


def test_a_closed_stream_is_no_error(tmp_path, log):
    stream = (tmp_path / "log").open("w")
    log.handlers[0].setStream(stream)
    stream.close()

    log.warning("nobody reads this")

    assert log.handlers[0].lost == 1
