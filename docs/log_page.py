"""The page about the log: its form, and every event that the code names."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.lines import template

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("composition", "controllers", "services", "models")
LEVELS = {"exception": "error"}
METHODS = {"debug", "info", "warning", "error", "critical", "exception"}
HEAD = r"""# Log

<!-- generated from the code by `make docs`; do not edit -->

One line for one thing, on stderr:

    [2026-01-17T12:00:00Z] WARNING millrace AUTHZ community=123 user=789 action=execute_workflow result=DENIED reason="no can_execute for this user"

| part | says |
|---|---|
| time | when, UTC |
| level | `INFO` for SUCCESS and ALLOWED, `WARNING` for DENIED, `ERROR` for FAILURE |
| module | `LOG_MODULE` |
| category | `AUTH` who, `AUTHZ` verdict and reason, `AUDIT` what was done, `ERROR` what went wrong, `SYSTEM` everything else |
| `community` `user` `action` `result` | always there, `-` when there is none |
| `reason` `workflow` `resource` | where there is something to say |
| `request_id` | the request on whose behalf it was done, also in the execution that the request started |
| `execution` `node` `run` `item` `attempt` | the execution and the attempt it is about |

A value with a blank, a quote or an equals sign is quoted; control characters are written as `\n`, `\x1b` and so on, so that no value can forge a line or a field.
`LOG_FORMAT=json` writes the same facts as one JSON object a line; an event is `event` there and its facts have their names:

    {"time": "2026-01-17T12:00:00Z", "level": "INFO", "module": "millrace", "category": "SYSTEM", "logger": "millrace.execution", "event": "attempt.failed", "node": "charge", "run": 0, "attempt": 2, "outcome": "failed", "error_type": "api_error", "error": "HTTP 502", "execution": "019…", "request_id": "019…"}

Keys and secrets never appear.

Mutations and denials are also rows of the [audit record](audit.md).

## Events

What the server tells of its own work, beside AUTH, AUTHZ and AUDIT. An event is the `action` of its line; `*` stands for one of several words. `LOG_LEVEL` decides from which level on they are written; `traceback` is there where something failed that should not.

| event | level | facts | words |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """One place in the code that writes to the log."""

    event: str
    level: str
    facts: tuple[str, ...]
    words: str
    place: str


def calls() -> Iterator[Call | str]:
    """Every call that logs; one that names no event as the place where it is."""
    for path in sorted([*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_logging(node.func):
                yield _call(node, f"{path.relative_to(ROOT)}:{node.lineno}")


def _is_logging(func: ast.expr) -> bool:
    return isinstance(func, ast.Attribute) and func.attr in METHODS and ast.unparse(func.value) in ("log", "_log", "logger")


def _call(node: ast.Call, place: str) -> Call | str:
    text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    known = template(text) if isinstance(text, str) else None
    if known is None:
        return place
    assert isinstance(node.func, ast.Attribute)
    level = LEVELS.get(node.func.attr, node.func.attr)
    return Call(known.event.replace("%s", "*"), level, tuple(name for name, _ in known.facts), known.words, place)


def page() -> str:
    """The page of the reference, as Markdown."""
    found = [call for call in calls() if isinstance(call, Call)]
    rows = sorted({(call.event, call.level, call.facts, call.words) for call in found})
    return HEAD + "".join(
        f"| `{event}` | {level} | {' '.join(f'`{fact}`' for fact in facts) or '-'} | {words.replace('%s', '…')} |\n"
        for event, level, facts, words in rows
    )


if __name__ == "__main__":
    sys.stdout.write(page())
