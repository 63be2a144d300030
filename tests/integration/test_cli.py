"""Keys, users and settings from the command line, on the database itself."""

import json
import socket

import pytest

pytestmark = pytest.mark.db


def test_migrating_twice_does_nothing_the_second_time(millrace):
    first = millrace("-o", "json", "migrate")
    again = millrace("migrate", "-o", "json")

    assert json.loads(first.stdout)[0] == {"applied": "0001_init"}
    assert (again.exit_code, json.loads(again.stdout)) == (0, [])


def test_a_user_and_a_key_are_made_and_ended(millrace):
    user = json.loads(millrace("user", "create", "ann", "--admin", "-o", "json").stdout)
    made = json.loads(millrace("-o", "json", "key", "create", "--user", "ann", "--scope", "read", "--days", 3).stdout)
    rotated = json.loads(millrace("-o", "json", "key", "rotate", made["id"], "--overlap", 0).stdout)
    revoked = millrace("-o", "json", "key", "revoke", rotated["id"])

    listed = json.loads(millrace("-o", "json", "key", "list", "--user", "ann").stdout)
    assert user["is_admin"]
    assert made["key"] != rotated["key"]
    assert revoked.exit_code == 0
    assert [row["scopes"] for row in listed] == [["read"], ["read"]]
    assert all(row["revoked_at"] for row in listed)
    assert made["key"] not in json.dumps(listed)


def test_roles_are_given_and_taken(millrace):
    millrace("user", "create", "ann")
    given = json.loads(millrace("-o", "json", "user", "role", "ann", 4, "editor").stdout)
    taken = json.loads(millrace("-o", "json", "user", "role", "ann", 4, "editor", "--remove").stdout)

    assert (given["roles"], taken["roles"]) == ([{"community_id": 4, "role": "editor"}], [])


def test_a_user_is_changed_and_lists_are_tables_for_people(millrace):
    millrace("user", "create", "ann")
    changed = json.loads(millrace("-o", "json", "user", "set", "ann", "--no-active").stdout)

    lines = millrace("user", "list").stdout.splitlines()
    assert changed["is_active"] is False
    assert lines[0].split()[:2] == ["ID", "NAME"]
    assert "ann" in lines[1]


def test_a_list_is_as_long_as_was_asked_for(millrace):
    for number in range(3):
        millrace("user", "create", f"user{number}")

    assert len(json.loads(millrace("-o", "json", "user", "list").stdout)) == 3
    assert len(json.loads(millrace("-o", "json", "user", "list", "--limit", 2).stdout)) == 2


def test_what_is_refused_ends_with_one_and_says_why(millrace):
    missing = millrace("key", "create", "--user", "nobody")
    millrace("user", "create", "ann")
    taken = millrace("user", "create", "ann")
    wrong = millrace("user", "create", "bob", "--email", "nonsense")

    assert [found.exit_code for found in (missing, taken, wrong)] == [1, 1, 1]
    assert "There is no user 'nobody'" in missing.stderr
    assert "The name ann is taken" in taken.stderr
    assert "email" in wrong.stderr


def test_an_error_is_json_where_answers_are(millrace):
    missing = millrace("key", "create", "--user", "nobody", "-o", "json")
    wrong = millrace("-o", "json", "user", "create", "bob", "--email", "nonsense")

    assert json.loads(missing.stderr) == {
        "success": False,
        "message": "There is no user 'nobody'; millrace user list shows them",
        "details": {},
    }
    said = json.loads(wrong.stderr)
    assert (said["success"], said["error_code"], wrong.exit_code) == (False, "VALIDATION_ERROR", 1)
    assert said["details"]["errors"][0]["loc"] == ["email"]


def test_wrong_usage_ends_with_two(millrace):
    nobody = millrace("key", "create")
    unknown = millrace("user", "paint")
    settings = millrace("migrate", PORT="x")

    assert [found.exit_code for found in (nobody, unknown, settings)] == [2, 2, 2]
    assert "--user NAME" in nobody.stderr
    assert "PORT must be" in settings.stderr


def test_what_is_about_a_record_needs_one(millrace, tmp_path):
    for command in (("audit", "verify"), ("audit", "list"), ("executions", "find")):
        found = millrace(*command, DATA_DIR=str(tmp_path / "typo"), POSTGRES_DSN="", PORT="1")

        assert found.exit_code == 2
        assert "There is no database at" in found.stderr
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("command", [("pack", "list"), ("migrate",), ("serve",)])
def test_folders_that_cannot_be_used_are_wrong_settings(millrace, tmp_path, command):
    (tmp_path / "file").write_text("")

    found = millrace(*command, DATA_DIR=str(tmp_path / "file" / "data"), POSTGRES_DSN="", PORT="0")

    assert (found.exit_code, "Traceback" in found.stderr) == (2, False)
    assert "DATA_DIR" in found.stderr


def test_a_server_names_every_folder_that_it_cannot_use(millrace, tmp_path):
    (tmp_path / "file").write_text("")
    folders = {"SECRETS_DIR": str(tmp_path / "a"), "DATA_DIR": str(tmp_path / "file" / "b")}
    found = millrace("serve", **folders, PORT="0")

    assert found.exit_code == 2
    assert "SECRETS_DIR: there is no folder" in found.stderr
    assert "DATA_DIR" in found.stderr


def test_a_name_forges_no_line_and_moves_no_cursor(millrace):
    millrace("user", "create", "ann")
    millrace("key", "create", "--user", "ann", "--name", "a\x1b[31m\n2  bob\u202e")

    listed = millrace("key", "list", "--user", "ann").stdout

    assert len(listed.splitlines()) == 2
    assert r"a\x1b[31m\n2  bob\u202e" in listed
    assert "\x1b" not in listed


def test_an_unreachable_database_ends_with_three(millrace):
    found = millrace("key", "list", POSTGRES_DSN="postgresql://127.0.0.1:1/nothing")

    assert found.exit_code == 3
    assert "cannot be reached" in found.stderr


def test_an_address_that_nobody_answers_at_ends_with_three(millrace):
    found = millrace("user", "list", "--url", "http://127.0.0.1:1", "--key", "k" * 20)

    assert found.exit_code == 3
    assert "No server answers at http://127.0.0.1:1" in found.stderr
    assert "MILLRACE_URL" in found.stderr


def test_a_server_wants_a_key(millrace):
    found = millrace("user", "list", "--url", "http://127.0.0.1:1")

    assert found.exit_code == 2
    assert "MILLRACE_KEY" in found.stderr


def test_what_is_done_here_is_in_the_record_as_done_by_the_system(millrace):
    millrace("user", "create", "ann")

    (entry,) = json.loads(millrace("audit", "list", "-o", "json", "--action", "create_user").stdout)
    assert (entry["actor_id"], entry["result"], entry["details"]["name"]) == (0, "SUCCESS", "ann")


def test_a_server_nearby_is_no_reason_to_make_a_database(millrace, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nearby:
        given = {"DATA_DIR": str(tmp_path / "typo"), "POSTGRES_DSN": "", "PORT": str(nearby.getsockname()[1])}

        for direct in ((), ("--direct",)):
            assert millrace("audit", "verify", *direct, **given).exit_code == 2
    assert not (tmp_path / "typo").exists()
