"""Runs the commands of a page of the documentation against a real server.

Every ```bash block of a page is run, in order, in one folder; variables set in a block are there in the next one.
`http://localhost:8070` stands for the server, `$MILLRACE_KEY` for an administrator's key. What is printed must be
JSON with `"success": true`, unless the block is marked:

- ```bash fails     the answer must be an error (`"success": false`);
- ```bash plain     the answer is not an envelope; the exit status must be 0;
- ```bash norun     shown, not run (installing, editing, what needs another system).

A block behind `<!-- file: NAME -->` is in the folder as that file.

A ```json block right behind a command is what it answers: each key and value in it must be in the answer. A text
that contains `…` matches any text, an item `"…"` at the end of a list any further items.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(\w+)[ ]*([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACE = "http://localhost:8070"
LIMIT_S = 60


@dataclass(frozen=True)
class Command:
    """One block: its text, how it is marked, the answer the page promises, and its line."""

    text: str
    mark: str
    answer: Any
    line: int


def commands(page: str) -> Iterator[Command]:
    """The commands of a page in their order."""
    found = list(BLOCK.finditer(page))
    for number, block in enumerate(found):
        if block[1] != "bash" or block[2].strip() == "norun":
            continue
        follower = found[number + 1] if number + 1 < len(found) else None
        adjoining = follower is not None and follower[1] == "json" and not page[block.end() : follower.start()].strip()
        answer = json.loads(follower[3]) if adjoining and follower is not None else None
        yield Command(block[3], block[2].strip(), answer, page[: block.start()].count("\n") + 1)


def files(page: str) -> dict[str, str]:
    """The files a page shows, by their names."""
    return {found[1]: found[2] for found in FILE.finditer(page)}


class Shell:
    """A folder and an environment that last over the blocks of one page."""

    def __init__(self, folder: Path, *, url: str, key: str):
        self.folder = folder
        self.url = url
        self.state = folder / ".variables"
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "MILLRACE_KEY": key,
            "MILLRACE_URL": url,
            "ACCESS_TOKEN": key,
            "PROJECT": str(Path(__file__).parents[2]),
            "DATA_DIR": str(folder / "data"),
            "OLD": str(folder / "old.db"),
        }

    def run(self, command: Command) -> None:
        """Run one block; raises AssertionError saying what the page promised and what came."""
        script = (
            'set -euo pipefail\n[ -f "$STATE" ] && . "$STATE"\nset -a\ncurl() { command curl -sS "$@"; }\n'
            'millrace() { PYTHONPATH="$PROJECT" python -m cli "$@"; }\n'
            f'{command.text.replace(PLACE, self.url)}\nexport -p > "$STATE"\n'
        )
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**self.env, "STATE": str(self.state)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        where = f"line {command.line}:\n{command.text}\n{ran.stdout}\n{ran.stderr}"
        assert ran.returncode == 0, where
        answer = last_json(ran.stdout)
        if command.mark != "plain" and answer is not None:
            assert answer.get("success") is (command.mark != "fails"), where
        if command.mark == "fails":
            assert answer is not None, where
        if command.answer is not None:
            different = difference(command.answer, answer)
            assert not different, f"{where}\nnot as promised: {different}"


def last_json(printed: str) -> Any:
    """The last JSON value that was printed, None when there was none."""
    decoder, found, at = json.JSONDecoder(), None, 0
    while True:
        brace = re.compile(r"[\[{]").search(printed, at)
        if brace is None:
            return found
        try:
            found, at = decoder.raw_decode(printed, brace.start())
        except ValueError:
            at = brace.end()


def difference(promised: Any, answer: Any, place: str = "answer") -> str:
    """Where an answer is not what the page says; empty when it is."""
    if isinstance(promised, dict):
        if not isinstance(answer, dict):
            return f"{place} is not an object"
        return next(
            (
                found
                for key, value in promised.items()
                if (found := difference(value, answer.get(key, "(absent)"), f"{place}.{key}"))
            ),
            "",
        )
    if isinstance(promised, list):
        return _list_difference(promised, answer, place)
    if isinstance(promised, str) and "…" in promised:
        pattern = ".*".join(re.escape(part) for part in promised.split("…"))
        matches = re.fullmatch(pattern, str(answer), re.DOTALL) and answer != "(absent)"
        return "" if matches else f"{place} is {answer!r}, not {promised!r}"
    return "" if promised == answer else f"{place} is {answer!r}, not {promised!r}"


def _list_difference(promised: list[Any], answer: Any, place: str) -> str:
    if not isinstance(answer, list):
        return f"{place} is not a list"
    is_open = bool(promised) and promised[-1] == "…"
    wanted = promised[:-1] if is_open else promised
    if len(answer) < len(wanted) or (len(answer) > len(wanted) and not is_open):
        return f"{place} has {len(answer)} items, not {len(wanted)}"
    found = (difference(value, answer[index], f"{place}[{index}]") for index, value in enumerate(wanted))
    return next(filter(None, found), "")
