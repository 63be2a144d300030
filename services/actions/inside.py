"""The program that runs a file of a pack, inside the sandbox. It knows nothing of the server: standard library only.

    python -I -S -B inside.py '{"kind": "python", "pack": "/pack", "entry": "actions/x.py", "limits": {…}, …}'

The input stands on stdin as JSON. A python file has `def run(input)`, whose result becomes the last line of stdout;
a shell file gets stdin and stdout as they are. With `supervise`, where there is no sandbox, this process first makes
itself the one to whom every descendant comes back, so that none outlives the action or the server.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

USAGE_EXIT = 64
KILL_ROUNDS = 1_000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
MORE_PROCESSES = 256
"""Without a sandbox the limit counts every process of the user: this many more than there are now."""


def main(order: dict[str, Any]) -> None:
    """Limit this process, and run what `order` names."""
    if order["supervise"]:
        _supervise(order["parent"])
        order["limits"]["processes"] = _processes_of_user() + MORE_PROCESSES
    _limit(**order["limits"])
    if order["kind"] == "python":
        _run_python(Path(order["pack"]), order["entry"])
    elif order["kind"] == "shell":
        _run_shell(Path(order["pack"], order["entry"]))


# ---- the two kinds of files ------------------------------------------------------------------------------------------


def _run_python(pack: Path, entry: str) -> None:
    import runpy

    file = pack / entry
    given = json.loads(sys.stdin.buffer.read())
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as the process lives
    sys.path[:0] = [str(file.parent), str(pack / "lib")]
    sys.argv = [str(file)]
    try:
        run = runpy.run_path(str(file), run_name="action").get("run")
        if not callable(run):
            _give_up(f"{entry} has no function run(input)")
        answer = json.dumps(_called(run, given), allow_nan=False)
    except Exception:  # noqa: BLE001 - whatever it raises is its way to fail; the server reads the last line
        _show_traceback(str(file))
        sys.stdout.flush()
        sys.exit(1)
    sys.stdout.flush()
    os.write(1, b"\n")
    with open(1, "w", encoding="utf-8", closefd=False) as stdout:
        stdout.write(answer + "\n")


def _called(run: Callable[[Any], Any], given: Any) -> Any:
    """What the function returns; one that leaves instead has failed."""
    try:
        return run(given)
    except SystemExit as left:
        if left.code:
            raise
        raise RuntimeError("it ended the process instead of returning") from None


def _show_traceback(file: str) -> None:
    """The traceback from the pack's own file on."""
    import traceback

    error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
    assert error is not None
    frames = traceback.extract_tb(error.__traceback__)
    first = next((number for number, frame in enumerate(frames) if frame.filename == file), 0)
    lines = [*traceback.format_list(frames[first:]), *traceback.format_exception_only(error)]
    sys.stderr.write("".join(lines))


def _run_shell(file: Path) -> NoReturn:
    with file.open("rb") as opened:
        first = opened.readline(256)
    command = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else ["/bin/sh"]
    try:
        os.execvp(command[0], [*command, str(file)])  # noqa: S606 - running this file is what the program is for
    except OSError as error:
        _give_up(f"{command[0]}: {error.strerror}")


def _give_up(message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    sys.exit(USAGE_EXIT)


# ---- limits ----------------------------------------------------------------------------------------------------------


def _limit(*, cpu_s: int, memory_bytes: int, file_bytes: int, files: int, processes: int) -> None:
    import resource

    wanted = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":  # elsewhere address space cannot be limited
        wanted[resource.RLIMIT_AS] = memory_bytes
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        last = bound + 1 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else bound
        resource.setrlimit(kind, (bound, last))


def _processes_of_user() -> int:
    me, count = os.getuid(), 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.stat().st_uid == me:
                count += sum(1 for _ in (entry / "task").iterdir())
        except OSError:
            continue  # it has ended meanwhile
    return count


# ---- without a sandbox -----------------------------------------------------------------------------------------------


def _supervise(parent: int) -> None:
    """Go on in a child, in a folder of its own; this process stays until all of it has ended, and removes it."""
    import shutil
    import signal
    import tempfile

    folder = tempfile.mkdtemp(prefix="millrace-")
    child = 0

    def end(code: int) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _kill_children()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)

    signal.signal(signal.SIGTERM, lambda *_: end(128 + signal.SIGTERM))
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        end(128 + signal.SIGTERM)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        os.chdir(folder)
        os.environ.update(HOME=folder, TMPDIR=folder)  # noqa: TID251 - of this process, which has no settings
        return
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            end(code if code >= 0 else 128 - code)


def _kill_children() -> None:
    """Kill until there is nobody left: what a child leaves behind becomes a child of ours."""
    import signal

    for _ in range(KILL_ROUNDS):
        try:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            os.wait()
        except ProcessLookupError:
            continue
        except ChildProcessError:
            return


def _children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    zero = ctypes.c_ulong(0)
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), zero, zero, zero)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
