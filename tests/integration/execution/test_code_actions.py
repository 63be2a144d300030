"""Files of packs as actions: real processes, inside bubblewrap and, on machines without it, under limits alone."""

from __future__ import annotations

import asyncio
import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from models.records import Effect
from services.actions.catalogue import ActionSpec, Catalogue, Runner
from services.actions.code import OFF, CodeRules, CodeRunner
from services.actions.outcome import Call, Outcome
from services.actions.runners import Runners
from services.actions.sandbox import Bubblewrap, Limits, Sandbox, find_sandbox
from services.actions.secrets import Secrets

MIB = 1024 * 1024
LIMITS = Limits(cpu_s=1, memory_bytes=256 * MIB, file_bytes=MIB, files=32, processes=16)
SECRET = "s3cr3t-value-for-code"
BEST = find_sandbox()


@pytest.fixture(params=["bubblewrap", "limits"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "bubblewrap" and not isinstance(BEST, Bubblewrap):
        pytest.skip("bubblewrap cannot make namespaces on this machine")
    return BEST if request.param == "bubblewrap" else Sandbox()


class Bench:
    """Packs in a folder, and a runner over them."""

    def __init__(self, folder: Path, sandbox: Sandbox, **rules: Any) -> None:
        self.packs = folder / "packs"
        (self.packs / "demo" / "actions").mkdir(parents=True)
        (folder / "secrets").mkdir()
        (folder / "secrets" / "token").write_text(SECRET)
        (folder / "secrets" / "token.packs").write_text("demo")
        self.secrets = Secrets(folder / "secrets")
        made = CodeRules(packs_dir=self.packs, sandbox=sandbox, refused=None, limits=LIMITS)
        for name, value in rules.items():
            object.__setattr__(made, name, value)
        self.is_ours = True
        code = CodeRunner(
            made, secrets=self.secrets, config=self.config, max_bytes=100_000, is_ours=lambda: self.is_ours
        )
        self.catalogue = Catalogue()
        self.runners = Runners(self.catalogue, builtins={}, others={Runner.PYTHON: code, Runner.SHELL: code})

    async def config(self, pack_ref: str) -> dict[str, Any]:
        return {"of": pack_ref}

    def add(self, name: str, text: str, runner: Runner = Runner.PYTHON, **more: Any) -> str:
        entry = f"actions/{name}.{'py' if runner is Runner.PYTHON else 'sh'}"
        (self.packs / "demo" / entry).write_text(textwrap.dedent(text))
        spec = ActionSpec(**{"ref": f"demo.{name}", "effect": Effect.NONE, "runner": runner, "entry": entry, **more})
        self.catalogue.add([spec])
        return spec.ref

    async def run(self, ref: str, timeout_s: float | None = None, **given: Any) -> Outcome:
        call = Call(ref=ref, input=given, key="e/n/0", execution_id="e", node="n", attempt=2, timeout_s=timeout_s)
        return await self.runners.perform(call, timeout_s=timeout_s)


@pytest.fixture
def bench(tmp_path: Path, sandbox: Sandbox) -> Bench:
    return Bench(tmp_path, sandbox)


def processes_with(text: str) -> list[int]:
    """Processes of this machine whose command line holds a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


# ---- what goes in and what comes out ---------------------------------------------------------------------------------


async def test_python_takes_the_input_and_gives_what_run_returns(bench: Bench) -> None:
    ref = bench.add("add", "def run(input):\n    print('adding')\n    return {'sum': input['a'] + input['b']}")

    outcome = await bench.run(ref, a=2, b=3)

    assert (outcome.error, outcome.output) == (None, {"sum": 5})
    assert outcome.logs == ({"level": "info", "message": "adding"},)


async def test_the_last_line_of_a_shell_file_is_the_output(bench: Bench) -> None:
    text = """\
        echo working
        echo careful >&2
        read -r given
        printf '{"given": %s, "key": "%s", "attempt": %s}\\n\\n' "$given" "$MILLRACE_IDEMPOTENCY_KEY" "$MILLRACE_ATTEMPT"
    """
    ref = bench.add("tell", text, Runner.SHELL)

    outcome = await bench.run(ref, a=[1])

    assert (outcome.error, outcome.output) == (None, {"given": {"a": [1]}, "key": "e/n/0", "attempt": 2})
    assert [(line["level"], line["message"]) for line in outcome.logs] == [("info", "working"), ("warning", "careful")]


async def test_a_shell_file_that_writes_nothing_gives_null_and_one_with_another_interpreter_runs(bench: Bench) -> None:
    quiet = bench.add("quiet", "true", Runner.SHELL)
    bash = bench.add("bash", "#!/usr/bin/env bash\n[[ 1 -eq 1 ]] && echo '\"yes\"'", Runner.SHELL)

    assert (await bench.run(quiet)).output is None
    assert (await bench.run(bash)).output == "yes"


async def test_modules_beside_the_file_and_in_lib_can_be_imported(bench: Bench) -> None:
    (bench.packs / "demo" / "lib").mkdir()
    (bench.packs / "demo" / "lib" / "shared.py").write_text("ONE = 1")
    (bench.packs / "demo" / "actions" / "beside.py").write_text("TWO = 2")
    ref = bench.add("imports", "import shared, beside\ndef run(input):\n    return shared.ONE + beside.TWO")

    assert (await bench.run(ref)).output == 3


async def test_declared_secrets_come_with_the_input_and_are_seen_nowhere_else(bench: Bench) -> None:
    text = """\
        import os, sys
        def run(input):
            print("token is", input["secrets"]["token"])
            assert input["secrets"]["token"] not in str(os.environ) + str(sys.argv)
            return input
    """
    ref = bench.add("secret", text, secrets=("token",))

    outcome = await bench.run(ref, a=1)

    assert outcome.output == {"a": 1, "secrets": {"token": SECRET}}
    assert bench.secrets.scrub(outcome.output)["secrets"] == {"token": "[secret]"}


async def test_nothing_of_the_servers_environment_is_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_ADMIN_KEY", "canary-admin")
    ref = bench.add("environ", "import os\ndef run(input):\n    return dict(os.environ)")

    found = (await bench.run(ref)).output

    known = {"ACTION", "EXECUTION_ID", "NODE", "ATTEMPT", "IDEMPOTENCY_KEY", "CONFIG"}
    names = {"PATH", "LANG", "TRACEPARENT", "HOME", "TMPDIR", "PWD", "LC_CTYPE", *(f"MILLRACE_{n}" for n in known)}
    assert found.keys() <= names
    assert found["MILLRACE_CONFIG"] == '{"of":"demo"}'


async def test_the_working_folder_is_private_and_gone_afterwards(bench: Bench) -> None:
    text = """\
        import os, pathlib
        def run(input):
            pathlib.Path("file").write_text("x")
            return [os.getcwd(), os.listdir(), os.environ["HOME"]]
    """
    ref = bench.add("folder", text)

    first, second = (await bench.run(ref)).output, (await bench.run(ref)).output

    assert first[1] == second[1] == ["file"]
    assert first[0] == first[2]
    assert not Path(first[0], "file").exists()


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("def run(input):\n    raise ValueError('no luck')", "execution", "exit code 1: ValueError: no luck"),
        ("import sys\ndef run(input):\n    sys.exit(7)", "execution", "exit code 7"),
        ("def other(input): ...", "execution", "has no function run(input)"),
        ("def run(input)", "execution", "SyntaxError"),
        ("def run(input):\n    return {1, 2}", "execution", "not JSON serializable"),
        ("import os\ndef run(input):\n    os.kill(os.getpid(), 9)", "execution", "SIGKILL"),
        ("def run(input):\n    while True: pass", "limit", "1 seconds of CPU"),
        ("def run(input):\n    return len(bytearray(10**9))", "limit", "bytes of memory"),
        ("def run(input):\n    return 'x' * 200_000", "limit", "100,000 bytes to stdout"),
        ("def run(input):\n    while True: print('x' * 1000)", "limit", "100,000 bytes to stdout"),
        ("def run(input):\n    open('f', 'wb').write(bytes(2 * 1024 * 1024))", "execution", "rror"),
        ("def run(input):\n    return [open('/dev/null') for _ in range(40)]", "execution", "Too many open files"),
    ],
)
async def test_a_failure_of_python_says_why(bench: Bench, text: str, kind: str, says: str) -> None:
    outcome = await bench.run(bench.add("fails", text), timeout_s=45)

    assert outcome.error is not None
    assert (outcome.error["type"], outcome.output) == (kind, None)
    assert says in outcome.error["message"]


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("echo no luck >&2; exit 3", "execution", "exit code 3: no luck"),
        ("echo done", "validation", "as JSON, not 'done'"),
        ("echo NaN", "validation", "as JSON"),
        ("#!/nowhere/sh\n", "execution", "/nowhere/sh: No such file"),
    ],
)
async def test_a_failure_of_a_shell_file_says_why(bench: Bench, text: str, kind: str, says: str) -> None:
    outcome = await bench.run(bench.add("fails", text, Runner.SHELL))

    assert outcome.error is not None
    assert outcome.error["type"] == kind
    assert says in outcome.error["message"]


async def test_the_traceback_begins_in_the_file_of_the_pack_and_is_kept(bench: Bench) -> None:
    outcome = await bench.run(bench.add("fails", "def run(input):\n    return input['nothing']"))

    assert outcome.error is not None
    assert outcome.error["details"]["exit_code"] == 1
    assert outcome.error["details"]["stderr"].startswith('  File "')
    assert "actions/fails.py" in outcome.error["details"]["stderr"].splitlines()[0]
    assert [line["message"] for line in outcome.logs][-1] == "KeyError: 'nothing'"


async def test_a_flood_on_stderr_is_read_and_cut(bench: Bench) -> None:
    text = "import sys\ndef run(input):\n    for n in range(100_000): print('line', n, file=sys.stderr)\n    return 1"

    outcome = await bench.run(bench.add("flood", text))

    assert outcome.output == 1
    assert sum(len(line["message"]) for line in outcome.logs) <= 64 * 1024


@pytest.mark.parametrize("entry", ["actions/gone.py", "../other/actions/x.py", "actions/link.py", "actions"])
async def test_a_file_that_is_not_in_the_pack_is_not_run(bench: Bench, tmp_path: Path, entry: str) -> None:
    outside = bench.packs / "other" / "actions"
    outside.mkdir(parents=True)
    (outside / "x.py").write_text("def run(input): return 'escaped'")
    (bench.packs / "demo" / "actions" / "link.py").symlink_to(outside / "x.py")
    bench.catalogue.add([ActionSpec(ref="demo.x", effect=Effect.NONE, runner=Runner.PYTHON, entry=entry)])

    outcome = await bench.run("demo.x")

    assert outcome.error is not None
    assert "has no file" in outcome.error["message"]


async def test_an_input_larger_than_a_pipe_reaches_code_that_reads_it_and_hurts_no_code_that_does_not(
    bench: Bench,
) -> None:
    reads = bench.add("reads", "def run(input):\n    return len(input['text'])")
    ignores = bench.add("ignores", "echo 1", Runner.SHELL)

    assert (await bench.run(reads, text="x" * 3_000_000)).output == 3_000_000
    assert (await bench.run(ignores, text="x" * 3_000_000)).output == 1


async def test_without_leave_nothing_runs_and_the_setting_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Sandbox(), refused=OFF)

    outcome = await bench.run(bench.add("off", "def run(input): return 1"))

    assert outcome.error is not None
    assert outcome.error["type"] == "validation"
    assert "ALLOW_CODE_ACTIONS" in outcome.error["message"]


# ---- ends ------------------------------------------------------------------------------------------------------------

DETACHED = """\
    import subprocess, sys, time
    def run(input):
        subprocess.Popen(["sh", "-c", f"sleep 300 # {input['mark']}; :"], start_new_session=True)
        subprocess.Popen(["sh", "-c", f"setsid sh -c 'sleep 300; :' {input['mark']} & sleep 300; :"])
        if input["stay"]:
            time.sleep(300)
        return "done"
"""


def mark() -> str:
    return f"millrace-mark-{os.getpid()}-{time.monotonic_ns()}"


async def test_what_code_leaves_running_ends_with_it(bench: Bench) -> None:
    name = mark()

    outcome = await bench.run(bench.add("detached", DETACHED), mark=name, stay=False)

    assert outcome.output == "done"
    await until(lambda: not processes_with(name))


async def test_code_that_takes_too_long_is_killed_with_all_it_started(bench: Bench) -> None:
    name = mark()

    outcome = await bench.run(bench.add("detached", DETACHED), timeout_s=1.0, mark=name, stay=True)

    assert outcome.error is not None
    assert outcome.error["type"] == "timeout"
    assert processes_with(name) == []


@pytest.mark.parametrize("end", ["print('x' * 200_000)", "time.sleep(300)", "sys.exit(3)", "os.kill(os.getpid(), 9)"])
async def test_however_it_ends_nothing_is_left_of_it(bench: Bench, end: str) -> None:
    name = mark()
    text = DETACHED.replace("import subprocess, sys, time", "import os, subprocess, sys, time")
    text = text.replace('if input["stay"]:', "print(os.getcwd(), flush=True)\n        if True:").replace(
        "time.sleep(300)", end
    )

    outcome = await bench.run(bench.add("detached", text), timeout_s=3.0, mark=name)

    assert outcome.error is not None
    folder = outcome.logs[0]["message"]
    assert folder == "/work" or (folder.startswith(gettempdir()) and not Path(folder).exists())
    await until(lambda: not processes_with(name))


async def test_the_declared_timeout_counts_where_the_task_has_none(bench: Bench) -> None:
    outcome = await bench.run(bench.add("slow", "sleep 300", Runner.SHELL, timeout_s=0.5))

    assert outcome.error is not None
    assert (outcome.error["type"], "0.5 seconds" in outcome.error["message"]) == ("timeout", True)


async def test_cancelling_kills_everything_before_it_returns(bench: Bench) -> None:
    name = mark()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bench.run(bench.add("detached", DETACHED), mark=name, stay=True))
        await until(lambda: len(processes_with(name)) >= 2)
        task.cancel()

    assert task.cancelled()
    assert processes_with(name) == []


async def test_at_most_so_many_run_at_once(tmp_path: Path, sandbox: Sandbox) -> None:
    bench = Bench(tmp_path, sandbox, parallel=2)
    text = """\
        import time
        def run(input):
            began = time.monotonic()
            time.sleep(0.4)
            return [began, time.monotonic()]
    """
    ref = bench.add("counted", text)

    outcomes = await asyncio.gather(*(bench.run(ref) for _ in range(6)))

    spans = [outcome.output for outcome in outcomes]
    assert max(sum(began <= at < ended for began, ended in spans) for at, _ in spans) == 2


async def test_waiting_for_others_costs_an_action_none_of_its_time(tmp_path: Path, sandbox: Sandbox) -> None:
    bench = Bench(tmp_path, sandbox, parallel=1)
    slow, quick = bench.add("slow", "sleep 300", Runner.SHELL), bench.add("quick", "echo 1", Runner.SHELL)

    first, second = await asyncio.gather(bench.run(slow, timeout_s=2.2), bench.run(quick, timeout_s=2.0))

    assert first.error is not None
    assert (first.error["type"], second.output) == ("timeout", 1)


@pytest.mark.parametrize(("effect", "began"), [(Effect.WRITE, True), (Effect.IRREVERSIBLE, False)])
async def test_what_cannot_be_undone_begins_only_under_a_fresh_lease(
    tmp_path: Path, effect: Effect, began: bool
) -> None:
    bench = Bench(tmp_path, Sandbox())
    ref = bench.add("effect", f"touch '{tmp_path}/began'", Runner.SHELL, effect=effect)
    bench.is_ours = False

    outcome = await bench.run(ref)

    assert (tmp_path / "began").exists() is began
    assert (outcome.error is None) is began
    assert began or outcome.error["type"] == "interrupted"


def test_a_bubblewrap_that_makes_no_namespaces_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert type(find_sandbox()) is Sandbox
    assert "no_sandbox" in caplog.text


# ---- what only the sandbox gives -------------------------------------------------------------------------------------


@pytest.mark.skipif(not isinstance(BEST, Bubblewrap), reason="bubblewrap cannot make namespaces on this machine")
async def test_the_sandbox_has_no_network_no_files_of_ours_and_nothing_to_write_but_its_folder(tmp_path: Path) -> None:
    bench = Bench(tmp_path, BEST)
    text = """\
        import os, socket
        def refused(act):
            try:
                act()
            except OSError:
                return True
            return False
        def run(input):
            here = [p for p in os.listdir("/proc") if p.isdigit()]
            return {
                "network": refused(lambda: socket.create_connection(("127.0.0.1", input["port"]), 1)),
                "names": refused(lambda: socket.getaddrinfo("example.org", 80)),
                "hidden": [path for path in input["paths"] if os.path.exists(path)],
                "written": [p for p in ("/x", "/pack/x", "/usr/x", "/dev/x", "/etc/x")
                            if not refused(lambda: open(p, "w"))],
                "processes": len(here) <= 3,
                "interfaces": [name for _, name in socket.if_nameindex()],
                "host": socket.gethostname(),
            }
    """
    ref = bench.add("look", text)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    paths = [str(tmp_path), str(Path(__file__)), "/etc/passwd", "/var", str(Path.home() / ".ssh"), "/sys"]

    async with server:
        outcome = await bench.run(ref, port=server.sockets[0].getsockname()[1], paths=paths)

    assert outcome.output == {
        "network": True, "names": True, "hidden": [], "written": [], "processes": True, "interfaces": ["lo"],
        "host": "millrace",
    }  # fmt: skip


@pytest.mark.skipif(not isinstance(BEST, Bubblewrap), reason="bubblewrap cannot make namespaces on this machine")
async def test_the_sandbox_bounds_all_files_together_and_allows_no_namespace_inside(tmp_path: Path) -> None:
    bench = Bench(tmp_path, BEST)
    text = """\
        import ctypes, os
        def run(input):
            written = 0
            try:
                for n in range(10):
                    with open(str(n), "wb") as file:
                        written += file.write(bytes(512 * 1024))
            except OSError:
                pass
            return [written, ctypes.CDLL(None).unshare(0x10000000)]
    """

    written, unshared = (await bench.run(bench.add("fill", text))).output

    assert written <= MIB
    assert unshared == -1


@pytest.mark.parametrize(
    ("leaves", "said"), [("sys.exit(0)", "instead of returning"), ("os._exit(0)", "before its function returned")]
)
async def test_a_function_that_leaves_without_returning_has_failed(bench: Bench, leaves: str, said: str) -> None:
    ref = bench.add("leave", f"import os, sys\ndef run(input):\n    {leaves}\n")

    outcome = await bench.run(ref)

    assert outcome.error is not None
    assert said in outcome.error["message"]
