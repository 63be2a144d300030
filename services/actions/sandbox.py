"""Where the code of packs runs: bubblewrap where it works, else a session of its own under resource limits.

What either of them stops is in `docs/decisions/0008-sandbox.md`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger("millrace.actions")

MIB = 1024 * 1024
PROBE_S = 15.0
INSIDE = Path(__file__).with_name("inside.py")
PYTHON = Path(sys.executable).resolve()
PROGRAM, PACK, WORK = "/run/millrace/inside.py", "/pack", "/work"
SHARED_MEMORY_BYTES = 16 * MIB
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime")
"""What of /etc programs need to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one call may use. Memory, CPU and files count for each process; `file_bytes` also for the whole folder."""

    cpu_s: int = 60
    memory_bytes: int = 512 * MIB
    file_bytes: int = 64 * MIB
    files: int = 128
    processes: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A file of a pack. `kind`: python or shell; `entry`: its path below the pack's folder."""

    kind: str
    pack: Path
    entry: str


class Sandbox:
    """No walls: limits, an empty environment and folder, and an end for everything that was started."""

    name = "limits"

    def command(self, program: Program, limits: Limits) -> list[str]:
        """The command that runs the program."""
        return _python(INSIDE, program, limits, pack=str(program.pack), supervise=True)

    @property
    def takes_along(self) -> bool:
        """Whether it takes its descendants along when it is asked to end; else it is killed, and they with it."""
        return True


class Bubblewrap(Sandbox):
    """Namespaces of its own: no network, no other processes, the system read-only, the pack at `/pack`."""

    name = "bubblewrap"

    def __init__(self, executable: str, more: Sequence[str] = ()) -> None:
        self._executable = executable
        self._more = tuple(more)

    def command(self, program: Program, limits: Limits) -> list[str]:
        """The command that runs the program."""
        return [
            self._executable,
            *("--unshare-all", "--unshare-user", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "millrace"),
            *self._more,
            *_system(),
            *("--proc", "/proc", "--dev", "/dev"),
            *("--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108 - the sandbox's own
            *("--ro-bind", str(INSIDE), PROGRAM, "--ro-bind", str(program.pack), PACK),
            *("--size", str(limits.file_bytes), "--tmpfs", WORK, "--symlink", WORK, "/tmp"),  # noqa: S108 - the sandbox's own
            *("--remount-ro", "/", "--chdir", WORK, "--setenv", "HOME", WORK, "--setenv", "TMPDIR", WORK, "--"),
            *_python(Path(PROGRAM), program, limits, pack=PACK, supervise=False),
        ]

    @property
    def takes_along(self) -> bool:
        """Whether it takes its descendants along when it is asked to end; else it is killed, and they with it."""
        return False


def find_sandbox() -> Sandbox:
    """The best sandbox that works on this machine: tried once, with everything that a call will use."""
    executable = shutil.which("bwrap")
    if executable is not None:
        for more in (("--disable-userns",), ()):
            made = Bubblewrap(executable, more)
            if _works(made):
                return made
        log.warning("actions.no_sandbox bubblewrap is installed and cannot make namespaces here")
    return Sandbox()


def _works(sandbox: Sandbox) -> bool:
    program = Program(kind="probe", pack=INSIDE.parent, entry="")
    try:
        done = subprocess.run(  # noqa: S603 - our own command, without a shell
            sandbox.command(program, Limits()), env={}, capture_output=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _system() -> list[str]:
    """What of this machine the code sees: programs and libraries, nothing that belongs to anybody."""
    options = []
    for place in map(Path, SYSTEM):
        if place.is_symlink():
            options += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            options += ["--ro-bind", str(place), str(place)]
    for name in SETTINGS:
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    if not PYTHON.is_relative_to("/usr"):
        options += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    return options


def _python(inside: Path, program: Program, limits: Limits, *, pack: str, supervise: bool) -> list[str]:
    order = {
        "kind": program.kind,
        "pack": pack,
        "entry": program.entry,
        "limits": asdict(limits),
        "supervise": supervise,
        "parent": os.getpid(),
    }
    return [str(PYTHON), "-I", "-S", "-B", str(inside), json.dumps(order)]
