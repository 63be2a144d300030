"""Workflows of mixed shapes that call a target, and the pack with the action that cannot be undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PACK = {
    "pack.yaml": "ref: crash\nlabel: Crash\nversion: 1.0.0\n",
    "actions/once.yaml": """
ref: crash.once
description: Something that cannot be undone.
runner: http
effect: irreversible
timeout: 30
parameters:
  type: object
  properties: {url: {type: string}, n: {type: integer}, ms: {type: integer}}
  required: [url, n]
output: {type: object}
request:
  method: POST
  url: "{{ parameters.url }}"
  json: {n: "{{ parameters.n }}", ms: "{{ parameters.ms }}"}
response:
  output: {serial: "{{ body.serial }}"}
example_output: {serial: 1}
""",
}
AGAIN = {"count": 6, "delay": 0.1}
SHAPES = ("chain", "fan", "loop", "timer", "retry", "parent", "ask", "final")


def write_pack(folder: Path) -> None:
    """Put the pack where packs are loaded from."""
    for name, text in PACK.items():
        path = folder / "crash" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def step(name: str, url: str, **more: Any) -> dict[str, Any]:
    """A call of effect `write` that takes 10 ms."""
    data = {"n": "{{ parameters.n }}", "ms": 10, **more.pop("json", {})}
    return {"name": name, "action": "core.http", "input": {"method": "POST", "url": url, "json": data}, **more}


def definitions(url: str) -> dict[str, dict[str, Any]]:
    """What is registered, by name; the child comes first."""
    path = f"{url}/step"
    once = {
        "name": "once",
        "action": "crash.once",
        "input": {"url": f"{url}/once", "n": "{{ parameters.n }}", "ms": 30},
    }
    return {
        "chain": {"tasks": [step("s0", path)] + [step(f"s{i}", path, json=was(i - 1)) for i in range(1, 4)]},
        "fan": {
            "tasks": [
                step("f", path, with_items=[1, 2, 3, 4, 5, 6], json={"i": "{{ item }}"}, next=[{"do": "done"}]),
                step("done", path, join="all"),
            ]
        },
        "loop": {
            "vars": {"i": 0},
            "tasks": [
                step("first", path, next=[{"do": "again"}]),
                step(
                    "again",
                    path,
                    json={"i": "{{ vars.i }}"},
                    next=[
                        {"when": "{{ vars.i < 3 }}", "publish": {"i": "{{ vars.i + 1 }}"}, "do": "again"},
                        {"when": "{{ vars.i >= 3 }}", "do": "last"},
                    ],
                ),
                step("last", path),
            ],
        },
        "timer": {"tasks": [step("a", path), {"name": "w", "wait": {"seconds": 2.5}}, step("b", path)]},
        "retry": {"tasks": [step("a", f"{url}/flaky", retry=AGAIN), step("b", f"{url}/flaky", retry=AGAIN)]},
        "parent": {
            "tasks": [
                step("a", path),
                {"name": "c", "action": "default.chain", "input": {"n": "{{ parameters.n }}"}},
                step("b", path),
            ]
        },
        "ask": {
            "tasks": [
                step("a", path),
                {"name": "q", "action": "core.inquiry", "input": {"prompt": "go?", "requester_may_respond": True}},
                step("b", path),
            ]
        },
        "final": {"tasks": [{**once, "next": [{"when": "completed", "do": "after"}]}, step("after", path)]},
    }


def was(i: int) -> dict[str, Any]:
    """The result of the step before, so that a result that changed shows in the next call's body."""
    return {"was": f"{{{{ task.s{i}.result.body.serial }}}}"}
