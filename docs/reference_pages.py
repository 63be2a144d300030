"""Pages of the reference that are made from the code: permissions, errors, metrics, the command line."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import click

from app import create_app
from cli import main as command_line
from config import load
from controllers.errors import STATUS
from controllers.guards import is_public_read, permission_of
from controllers.openapi import TAGS, error_statuses, operation_of
from services import errors
from services.access.permissions import ADMIN_ONLY, Permission, Scope
from services.metrics import Metrics

MARK = "<!-- generated from the code by `make docs`; do not edit -->"


def permissions_page() -> str:
    """Scopes and permissions."""
    lines = ["# Permissions and scopes", "", MARK, ""]
    lines += ["What they mean together is told in [who may do what](../explanation/access.md).", "", "## Scopes", ""]
    lines += ["A key without scopes may do everything its user may. One with scopes may pass these doors:", ""]
    lines += ["| scope | permissions |", "|---|---|"]
    for scope in Scope:
        held = [f"`{permission.label}`" for permission in Permission if permission.scope is scope]
        lines.append(f"| `{scope}` | {' '.join(held)} |")
    admin = " ".join(f"`{permission.label}`" for permission in Permission if permission in ADMIN_ONLY)
    lines += ["", f"`self:view` needs no scope. {admin} are for administrators only.", ""]
    lines += ["Which route asks for which permission is in the OpenAPI document: `x-permission` of each operation.", ""]
    return "\n".join(lines)


def routes_page() -> str:
    """Every route, what it asks for and what it answers."""
    app = create_app(load({}))
    lines = ["# Routes", "", MARK, ""]
    lines += ["Every route of the server. Bodies, fields and answers are in the OpenAPI document: `/docs` and `/openapi.json`.", ""]
    lines += ["The permission is what a key with [scopes](permissions.md) needs; which workflow, pack or run it may touch is", "decided besides, see [who may do what](../explanation/access.md)."]
    lines += ["Every guarded route may answer 401, 403, 429 and 503, every route 500; they are not repeated here.", "*once* marks a route that takes an `Idempotency-Key`.", ""]
    rows = defaultdict(list)
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        operation = operation_of(view)
        if operation is not None:
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                rows[operation.tag].append(_route(method, rule.rule, view))
    for tag, text in TAGS.items():
        lines += [f"## {tag.capitalize()}", "", text, "", "| route | does | permission | statuses |", "|---|---|---|---|"]
        lines += [*sorted(rows[tag], key=lambda row: (row.split("`")[1].split()[1], row)), ""]
    return "\n".join(lines)


def _route(method: str, rule: str, view: Any) -> str:
    operation, permission = operation_of(view), permission_of(view)
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
    does = (view.__doc__ or "").strip().splitlines()[0].rstrip(".")
    everywhere = {401, 403, 429, 500, 503}
    statuses = [*sorted(operation.answers), *sorted(error_statuses(operation, permission) - everywhere)]
    once = " *once*" if "Idempotency-Key" in operation.headers else ""
    opened = " or public reads" if is_public_read(view) else ""
    return f"| `{method} {path}`{once} | {does} | `{permission.label}`{opened} | {' '.join(map(str, statuses))} |"


def errors_page() -> str:
    """Every error code with its status."""
    lines = ["# Errors", "", MARK, ""]
    lines += ["Every error has the same shape; `detail` repeats `message`.", "", "```json"]
    lines += ['{"success": false, "message": "…", "error_code": "WORKFLOW_NOT_FOUND", "details": {}, "detail": "…",']
    lines += [' "request_id": "…"}', "```", ""]
    lines += ["With `Accept: application/problem+json` the same facts come as RFC 9457."]
    lines += ["A 400 lists every problem at once in `details.errors`, each with its place (`loc`).", ""]
    lines += ["| status | code | means |", "|---|---|---|"]
    for status, code, meaning in sorted(set(_errors(errors.MillraceError))):
        lines.append(f"| {status} | `{code}` | {meaning} |")
    return "\n".join(lines) + "\n"


def _errors(kind: type[errors.MillraceError]) -> Iterator[tuple[int, str, str]]:
    status = next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)
    if kind is not errors.MillraceError:
        yield status, kind.code, (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
    else:
        yield status, kind.code, "A defect of ours; the log has the details under the request id"
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _errors(child)


def metrics_page() -> str:
    """Every metric of `/metrics` that is ours."""
    lines = ["# Metrics", "", MARK, "", "`GET /metrics` answers the Prometheus text format.", ""]
    lines += ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    found = [
        value for value in vars(Metrics()).values() if hasattr(value, "describe") and hasattr(value, "_labelnames")
    ]
    for metric in sorted(found, key=lambda value: str(value._name)):
        (family,) = metric.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = " ".join(f"`{label}`" for label in metric._labelnames) or "-"
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    lines += ["", "Besides, the usual `process_…` and `python_…` metrics.", ""]
    return "\n".join(lines)


def cli_page() -> str:
    """Every command."""
    lines = ["# Command line", "", MARK, "", "`millrace COMMAND`, or `python -m cli COMMAND` in a checkout.", ""]
    lines += ["`-o json` before the command answers JSON instead of a table.", ""]
    lines += [
        "Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 3 the database cannot be reached.",
        "",
    ]
    for path, command in _commands(command_line, "millrace"):
        arguments = [_argument(parameter) for parameter in command.params if isinstance(parameter, click.Argument)]
        lines += [f"## {' '.join([path, *arguments])}", "", command.help or "", ""]
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        lines += [f"- `{' / '.join([*o.opts, *o.secondary_opts])}` {o.help or ''}".rstrip() for o in options]
        lines += [""] if options else []
    return "\n".join(lines).rstrip() + "\n"


def _argument(parameter: click.Argument) -> str:
    name = str(parameter.name).upper()
    return name if parameter.required else f"[{name}]"


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in sorted(command.commands):
        yield from _commands(command.commands[name], f"{path} {name}")


PAGES = {
    "reference/permissions.md": permissions_page,
    "reference/routes.md": routes_page,
    "reference/errors.md": errors_page,
    "reference/metrics.md": metrics_page,
    "reference/cli.md": cli_page,
}
