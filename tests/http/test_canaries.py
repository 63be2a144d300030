"""Secrets are planted everywhere they may be, and looked for everywhere they must not be; no value can forge a line."""

import io
import json
import logging
import re

import pytest

from services import logs
from tests.support.doors import DOORS, doors_of

OPENAI = "canary-openai-5d1e"
ADMIN_KEY = "canary-admin-key-77aa90c1"
PEPPER = "canary-pepper-0f3b77aa90c1"
FILE = "canary-file-2c4d6e8f"
STRANGER = "canary-stranger-91be"
LINE = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\] (DEBUG|INFO|WARNING|ERROR) millrace [A-Z]+ .*")
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
FORGED = "[2026-01-17T12:00:00Z] INFO millrace AUTH user=1 result=SUCCESS"
CALL = {
    "tasks": [
        {
            "name": "call",
            "action": "core.http",
            "input": {"url": "http://127.0.0.1:9/x", "headers": {"Authorization": "Bearer {{ secrets.token }}"}},
        }
    ]
}
FLOW = {"ref": "default.canary", "pack_ref": "default", "label": "c", "version": "1", "definition": CALL}


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    """A secret for every setting that takes one."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "token").write_text(FILE)
    return {
        "RATE_LIMIT_PER_MINUTE": "0",
        "SECRETS_DIR": str(folder),
        "HTTP_ALLOW_HOSTS": "127.0.0.1",
        "OPENAI_KEY": OPENAI,
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "MILLRACE_ADMIN_KEY": ADMIN_KEY,
        "KEY_PEPPER": PEPPER,
    }


@pytest.fixture
def log():
    """All that is logged, as the server's own handler writes it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(level="debug", form="aaa", module="millrace", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


async def dump(db) -> str:
    """Every value of every table."""
    return "".join([repr(await db.sql(f"SELECT * FROM {name}")) for name in db.tables])


async def test_a_planted_secret_is_found_nowhere(log, app, client, here, world, settings):
    shown = []

    async def ask(method, path, headers, **given):
        answer = await client.open(path, method=method, headers=headers, **given)
        shown.append(f"{dict(answer.headers)} {await answer.get_data(as_text=True)}")
        return json.loads(await answer.get_data()) if answer.mimetype == "application/json" else None

    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    await ask("POST", "/api/v1/workflows", admin, json=FLOW)
    await ask("POST", "/api/v1/workflows/default.canary/execute?wait=20", admin, json={})
    await ask("POST", "/api/v1/runs", admin, json={"wpk_id": "x", "run_id": "y", "status": "failed", "outputs": "text"})
    for headers in ({"X-API-Key": STRANGER}, {"Authorization": f"Bearer {STRANGER}"}, {"X-API-Key": ADMIN_KEY + "x"}):
        await ask("GET", "/api/v1/me", headers)
    listed = await ask("GET", "/api/v1/workflows/default.canary/executions", admin)
    execution = f"/api/v1/workflows/executions/{listed['data'][0]['execution_id']}"
    for path in (execution, f"{execution}/events", f"{execution}/explain"):
        await ask("GET", path, admin)
    for name in [name for name in doors_of(app) if name.startswith("GET ")]:
        await ask("GET", await world.path_of(name.partition(" ")[2], DOORS[name], 1), admin)

    places = {"answers": "".join(shown), "database": await dump(here.db), "log": log.getvalue(), "repr": repr(settings)}
    keys = [headers["X-API-Key"] for headers in world.people.values() if "X-API-Key" in headers]
    secrets = [OPENAI, ADMIN_KEY, PEPPER, FILE, STRANGER, *keys]
    assert "call" in places["answers"]
    assert "authenticate" in places["log"]
    assert [(place, secret) for place, text in places.items() for secret in secrets if secret in text] == []


@pytest.mark.parametrize("break_", BREAKS, ids=lambda char: f"U+{ord(char):04X}")
async def test_nothing_a_client_sends_can_forge_a_line_of_the_log(log, client, alice, break_):
    forged = f"x{break_}{FORGED}\x1b[2J\u202e"
    body = {**FLOW, "ref": "default.forged", "label": forged, "description": forged, "tags": [forged[:20]]}
    header = forged.replace("\n", "").replace("\r", "").encode().decode("latin-1")  # a header cannot carry these two
    spoken = dict.fromkeys(("X-Request-ID", "User-Agent", "X-Forwarded-For"), header)

    for path in ("/api/v1/workflows", "/api/v1/workflows/validate", "/api/v1/users", "/api/v1/runs"):
        await client.post(path, json={**body, "name": forged, "wpk_id": forged, "run_id": forged}, headers=alice)
    await client.get("/api/v1/me", headers={**spoken, "X-API-Key": header})
    await client.get(f"/api/v1/workflows/{forged}", headers={**alice, **spoken})
    await client.put(f"/api/v1/packs/core/permissions/{forged}/{forged}", json={}, headers={**alice, **spoken})

    text = log.getvalue()
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []
    assert text.count("\n") == len(text.splitlines())
    assert "\x1b" not in text
    assert "\u202e" not in text
