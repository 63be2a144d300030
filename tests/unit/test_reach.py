"""Whom a command asks: decided by what was named, who holds the database, and what is there."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from composition.execution import lock_path
from composition.reach import Local, Nobody, Remote, whom
from config import Settings, load
from controllers.terminal.session import Wish
from services.execution.file_lock import DatabaseLocked, FileLock, Holder, holder_of

HERE = "http://127.0.0.1:4711"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"DATA_DIR": str(tmp_path), "PORT": "1"})


@pytest.fixture
def lock(settings: Settings) -> Iterator[FileLock]:
    """A lock that a server holds; it can be told its address."""
    found = FileLock(lock_path(settings))
    found.take()
    yield found
    found.release()


def test_a_lock_says_who_holds_it_and_where_as_long_as_it_is_held(tmp_path):
    path = tmp_path / "x.lock"
    lock = FileLock(path)
    nobody = holder_of(path)
    lock.note(HERE)
    lock.take()
    lock.take()
    held = holder_of(path)
    lock.release()

    assert nobody is None
    assert held is not None
    assert held.address == HERE
    assert holder_of(path) is None


def test_a_lock_is_held_by_one(tmp_path):
    path = tmp_path / "x.lock"
    first, second = FileLock(path), FileLock(path)
    first.take()

    with pytest.raises(DatabaseLocked):
        second.take()
    first.release()
    second.take()
    second.release()


def test_what_a_dead_process_wrote_into_the_lock_means_nothing(tmp_path):
    path = tmp_path / "x.lock"
    path.write_text(f"1\n{HERE}\n")

    assert holder_of(path) is None


def test_an_odd_holder_is_still_a_holder(tmp_path, monkeypatch):
    lock = FileLock(tmp_path / "x.lock")
    lock.take()
    (tmp_path / "x.lock").write_text("somebody")

    assert holder_of(tmp_path / "x.lock") == Holder(pid=None, address=None)
    lock.release()


def test_what_is_named_is_asked(settings, lock):
    assert whom(settings, Wish(url="http://far", key="k")) == Remote("http://far", "k")
    assert isinstance(whom(settings, Wish(url="http://far")), Nobody)


def test_a_server_that_holds_the_database_is_asked_with_a_key(settings, lock):
    lock.note(HERE)

    refused = whom(settings, Wish())
    assert whom(settings, Wish(key="k")) == Remote(HERE, "k")
    assert isinstance(refused, Nobody)
    assert HERE in refused.reason


def test_beside_a_holder_that_takes_no_requests_only_driving_has_to_wait(settings, lock):
    assert whom(settings, Wish()) == Local(drives=False)
    assert isinstance(whom(settings, Wish(drives=True)), Nobody)


def test_direct_goes_to_the_database_and_never_drives_beside_a_server(settings, lock):
    assert whom(settings, Wish(direct=True, drives=True)) == Local(drives=False)
    lock.release()
    assert whom(settings, Wish(direct=True, drives=True)) == Local(drives=True)


def test_a_database_that_nobody_holds_is_used(settings, tmp_path):
    (tmp_path / "millrace.db").touch()

    assert whom(settings, Wish(key="k", drives=True)) == Local(drives=True)


def test_a_key_without_a_database_means_the_server_of_the_settings_where_one_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        settings = load({"DATA_DIR": str(tmp_path), "PORT": str(port)})

        assert whom(settings, Wish(key="k")) == Remote(f"http://127.0.0.1:{port}", "k")
        assert whom(settings, Wish()) == Local(drives=False)
    assert whom(settings, Wish(key="k")) == Local(drives=False)
