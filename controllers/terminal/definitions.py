"""`millrace validate`: checks definitions without a server and without a database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controllers.terminal.command import Command
from controllers.terminal.session import FAILED, Terminal

if TYPE_CHECKING:  # the engine is loaded when there is something to check
    from services.registry.findings import Findings

COLUMNS = ("file", "result", "place", "message")


@click.command("validate", cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.pass_obj
def validate(session: Terminal, files: tuple[str, ...], strict: bool) -> None:
    """Check the definitions, workflows or packages in FILES (YAML or JSON; - reads standard input).

    The actions of `core` are known with what they take; those of other packs are for the server to check.
    """
    lines = [line for name in files for line in _checked(name)]
    session.show(lines, COLUMNS)
    bad = {"error", "warning"} if strict else {"error"}
    if any(line["result"] in bad for line in lines):
        raise SystemExit(FAILED)


def _checked(name: str) -> list[dict[str, Any]]:
    """What is to be said about one file."""
    from services.errors import Invalid
    from services.formats import strict_json, strict_yaml

    raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        document = strict_json.loads(raw) if name.endswith(".json") else strict_yaml.loads(raw)[0]
    except Invalid as error:
        return [_line(name, "error", problem) for problem in error.details["errors"]]
    errors, warnings = _findings(document)
    if not errors and not warnings:
        return [{"file": name, "result": "valid", "place": None, "message": None}]
    return [_line(name, "error", problem) for problem in errors] + [_line(name, "warning", w) for w in warnings]


def _findings(document: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Errors and warnings of a definition, alone or with the fields of a workflow around or beside it."""
    from services.registry import checking, drafts
    from services.registry.findings import Findings

    findings = Findings()
    wrapped = isinstance(document, dict) and "definition" in document
    draft = drafts.read(document, findings) if wrapped else drafts.Draft(definition=_bare(document, findings))
    drafts.check(draft, findings)
    loc = ("definition",) if wrapped else ()
    checked = asyncio.run(checking.check(draft.definition, known=_built_in, loc=loc))
    return [*findings.errors, *checked.errors], checked.warnings


async def _built_in(refs: Collection[str]) -> dict[str, Any]:
    """What is known here: the actions of `core`; others may be anything."""
    from services.actions.core_pack import CORE_ACTIONS

    core = {spec.ref: spec.parameters for spec in CORE_ACTIONS}
    return {ref: core.get(ref, {}) for ref in refs if ref in core or not ref.startswith("core.")}


def _bare(document: Any, findings: Findings) -> Any:
    from services.registry import drafts

    if drafts.is_definition(document) and not drafts.is_package(document):
        return drafts.read(document, findings).definition
    return document


def _line(name: str, result: str, problem: dict[str, Any]) -> dict[str, Any]:
    place = ".".join(str(part) for part in problem["loc"])
    return {"file": name, "result": result, "place": place or None, "message": problem["message"]}
