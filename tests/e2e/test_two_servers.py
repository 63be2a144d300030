"""Two servers over one PostgreSQL: what one of them ends, the other refuses within two seconds."""

import json
import time
import urllib.error
import urllib.request

import pytest

from tests.support.server import running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
WITHIN_S = 2.0
PATIENCE_S = 60.0


@pytest.fixture
def database_engine():
    """SQLite is for one server."""
    return "postgres"


def ask(server, path: str, key: str, method: str = "GET", body: object = None) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def accepted_after(server, path: str, key: str, since: float) -> float:
    """How long after `since`, in seconds, the last request was sent that the server still let in."""
    last, until = 0.0, since + PATIENCE_S
    while (sent := time.monotonic()) < until:
        if ask(server, path, key)[0] in {401, 403, 404}:
            return last
        last = sent - since
    return PATIENCE_S


def test_a_revoked_key_and_a_revoked_grant_end_on_the_other_server_within_two_seconds(tmp_path, database_url):
    environ = {"POSTGRES_DSN": database_url}
    with running(tmp_path / "one", environ) as one, running(tmp_path / "two", environ) as two:
        _, user = ask(one, "/api/v1/users", one.key, "POST", {"name": "ann"})
        wish = {"name": "k", "user_id": user["data"]["id"]}
        _, kept = ask(one, "/api/v1/api-keys", one.key, "POST", wish)
        _, ended = ask(one, "/api/v1/api-keys", one.key, "POST", wish)
        flow = {"tasks": [{"name": "a", "action": "core.noop"}]}
        workflow = {"ref": "default.shared", "pack_ref": "default", "label": "s", "version": "1", "definition": flow}
        ask(one, "/api/v1/workflows", one.key, "POST", workflow)
        grant = f"/api/v1/workflows/default.shared/permissions/user/{user['data']['id']}"
        ask(one, grant, one.key, "PUT", {"can_view": True})
        keys = kept["data"]["key"], ended["data"]["key"]
        assert [ask(two, "/api/v1/workflows/default.shared", key)[0] for key in keys] == [200, 200]

        ask(one, f"/api/v1/api-keys/{ended['data']['id']}", one.key, "DELETE")
        by_key = accepted_after(two, "/api/v1/me", keys[1], time.monotonic())
        assert ask(two, "/api/v1/workflows/default.shared", keys[0])[0] == 200
        ask(one, grant, one.key, "DELETE")
        by_grant = accepted_after(two, "/api/v1/workflows/default.shared", keys[0], time.monotonic())

    assert by_key <= WITHIN_S
    assert by_grant <= WITHIN_S
