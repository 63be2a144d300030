"""The command line, in a process of its own form but in this one: same code, same exit codes."""

import json
import logging

import pytest
from click.testing import CliRunner

from cli import main


@pytest.fixture
def millrace(tmp_path, monkeypatch):
    """Runs a command on a database of its own."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for name in ("POSTGRES_DSN", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "new" / "data"))

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)

    run("migrate")
    yield run
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


def test_migrating_twice_does_nothing_the_second_time(millrace):
    again = millrace("-o", "json", "migrate")

    assert (again.exit_code, json.loads(again.output)) == (0, [])


def test_a_user_and_a_key_are_made_and_ended(millrace):
    user = json.loads(millrace("-o", "json", "user", "create", "ann", "--admin").output)
    made = json.loads(millrace("-o", "json", "key", "create", "--user", "ann", "--scope", "read", "--days", 3).output)
    rotated = json.loads(millrace("-o", "json", "key", "rotate", made["id"], "--overlap", 0).output)
    revoked = millrace("-o", "json", "key", "revoke", rotated["id"])

    listed = json.loads(millrace("-o", "json", "key", "list", "--user", "ann").output)
    assert user["is_admin"]
    assert made["key"] != rotated["key"]
    assert revoked.exit_code == 0
    assert [row["scopes"] for row in listed] == [["read"], ["read"]]
    assert all(row["revoked_at"] for row in listed)
    assert made["key"] not in json.dumps(listed)


def test_roles_are_given_and_taken(millrace):
    millrace("user", "create", "ann")
    given = json.loads(millrace("-o", "json", "user", "role", "ann", 4, "editor").output)
    taken = json.loads(millrace("-o", "json", "user", "role", "ann", 4, "editor", "--remove").output)

    assert (given["roles"], taken["roles"]) == ([{"community_id": 4, "role": "editor"}], [])


def test_a_table_is_for_people(millrace):
    millrace("user", "create", "ann")

    lines = millrace("user", "list").output.splitlines()

    assert lines[0].split()[:2] == ["ID", "NAME"]
    assert "ann" in lines[1]


def test_what_is_refused_ends_with_one_and_says_why(millrace):
    found = millrace("key", "create", "--user", "nobody")

    assert found.exit_code == 1
    assert "no user 'nobody'" in found.output


def test_unusable_settings_end_with_two(millrace, monkeypatch):
    monkeypatch.setenv("PORT", "x")

    found = millrace("migrate")

    assert found.exit_code == 2
    assert "PORT must be" in found.output


def test_an_unreachable_database_ends_with_three(millrace, monkeypatch):
    monkeypatch.setenv("POSTGRES_DSN", "postgresql://127.0.0.1:1/nothing")

    found = millrace("key", "list")

    assert found.exit_code == 3
    assert "cannot be reached" in found.output
