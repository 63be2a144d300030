"""Secrets are planted everywhere they may be, and looked for everywhere they must not be; no value can forge a line."""

import asyncio
import io
import json
import logging
import re
from base64 import b64encode

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
CALLS = {
    "header": {
        "action": "core.http",
        "input": {"url": "{{ parameters.url }}", "headers": {"X": "Bearer {{ secrets.token }}"}},
    },
    "query": {
        "action": "core.http",
        "input": {"url": "http://127.0.0.1:9/x?t={{ secrets.token }}", "params": {"u": "{{ secrets.token }}"}},
    },
    "broken_url": {"action": "core.http", "input": {"url": "http://{{ secrets.token }}:port/"}},
    "broken_header": {
        "action": "core.http",
        "input": {"url": "{{ parameters.url }}", "headers": {"X": "{{ secrets.token }}\r\n"}},
    },
    "answer": {
        "action": "core.http",
        "input": {"url": "{{ parameters.url }}", "method": "POST", "json": {"t": "{{ secrets.token }}"}},
    },
    "wrong_input": {"action": "core.http", "input": {"url": "x", "json": 1, "headers": "{{ secrets.token }}"}},
    "code": {"action": "canary.tells", "input": {"given": "{{ secrets.token }}"}},
    "code_that_fails": {"action": "canary.tells", "input": {"given": "{{ secrets.token }}", "fail": True}},
}
TELLS = """\
import base64, sys
from urllib.parse import quote
def run(input):
    token = input["secrets"]["token"]
    print("info", token, base64.b64encode(b"user:" + token.encode()).decode())
    print("warning", quote(token + "/x", safe=""), file=sys.stderr)
    if input.get("fail"):
        raise RuntimeError(f"no {token}")
    return {"token": token, "basic": base64.b64encode(b"u:" + token.encode()).decode(), token: [token, input["given"]]}
"""


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    """A secret for every setting that takes one."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "token").write_text(FILE)
    actions = tmp_path / "packs" / "canary" / "actions"
    actions.mkdir(parents=True)
    (actions.parent / "pack.yaml").write_text("{ref: canary, label: Canary, version: 1.0.0}")
    (actions / "tells.py").write_text(TELLS)
    (actions / "tells.yaml").write_text("{runner: python, entry: actions/tells.py, secrets: [token], effect: none}")
    return {
        "ALLOW_CODE_ACTIONS": "on",
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


@pytest.fixture
async def mirror():
    """A server that answers 500 with all it was sent."""

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        said = json.dumps([head.decode(), (await reader.readexactly(int(size[1]) if size else 0)).decode()]).encode()
        writer.write(b"HTTP/1.1 500 No\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_planted_secret_is_found_nowhere(log, app, client, here, world, settings, mirror):
    shown = []

    async def ask(method, path, headers, **given):
        answer = await client.open(path, method=method, headers=headers, **given)
        shown.append(f"{dict(answer.headers)} {await answer.get_data(as_text=True)}")
        return json.loads(await answer.get_data()) if answer.mimetype == "application/json" else None

    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    for name, call in CALLS.items():
        flow = {"ref": f"default.{name}", "pack_ref": "default", "label": "c", "version": "1"}
        definition = {"tasks": [{"name": name, **call}], "output": {"r": "{{ task." + name + ".result }}"}}
        made = await ask("POST", "/api/v1/workflows", admin, json={**flow, "definition": definition})
        assert made["success"], made
        started = {"variables": {"url": mirror}}
        ran = await ask("POST", f"/api/v1/workflows/default.{name}/execute?wait=30", admin, json=started)
        assert ran["data"]["status"] == ("completed" if name == "code" else "failed"), ran
        await ask("POST", f"/api/v1/workflows/default.{name}/test", admin, json=started)
        execution = f"/api/v1/workflows/executions/{ran['data']['execution_id']}"
        for path in (execution, f"{execution}/events", f"{execution}/explain"):
            await ask("GET", path, admin)
    await ask("POST", "/api/v1/runs", admin, json={"wpk_id": "x", "run_id": "y", "status": "failed", "outputs": "text"})
    for headers in ({"X-API-Key": STRANGER}, {"Authorization": f"Bearer {STRANGER}"}, {"X-API-Key": ADMIN_KEY + "x"}):
        await ask("GET", "/api/v1/me", headers)
    for name in [name for name in doors_of(app) if name.startswith("GET ")]:
        await ask("GET", await world.path_of(name.partition(" ")[2], DOORS[name], 1), admin)

    places = {"answers": "".join(shown), "database": await dump(here.db), "log": log.getvalue(), "repr": repr(settings)}
    keys = [headers["X-API-Key"] for headers in world.people.values() if "X-API-Key" in headers]
    basic = [b64encode(lead + FILE.encode()).decode()[4:-4] for lead in (b"u:", b"user:")]
    secrets = [OPENAI, ADMIN_KEY, PEPPER, FILE, STRANGER, *basic, *keys]
    assert places["answers"].count("[secret]") > 10
    assert "authenticate" in places["log"]
    assert [(place, secret) for place, text in places.items() for secret in secrets if secret in text] == []


@pytest.mark.parametrize("break_", BREAKS, ids=lambda char: f"U+{ord(char):04X}")
async def test_nothing_a_client_sends_can_forge_a_line_of_the_log(log, client, alice, break_):
    forged = f"x{break_}{FORGED}\x1b[2J\u202e"
    body = {
        "pack_ref": "default",
        "version": "1",
        "definition": {"tasks": []},
        "ref": "default.forged",
        "label": forged,
        "description": forged,
        "tags": [forged[:20]],
    }
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
