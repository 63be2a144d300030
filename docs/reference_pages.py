"""Pages of the reference that are made from the code: permissions, errors, metrics, the command line."""

from __future__ import annotations

import re
from collections import defaultdict
import inspect
from collections.abc import Iterator
from typing import Any

import click

from app import create_app
from cli import main as command_line
from controllers.terminal.command import is_common
from config import load
from controllers.errors import STATUS
from controllers.guards import is_public_read, permission_of
from controllers.openapi import TAGS, error_statuses, operation_of
from services import errors
from services.access.permissions import ADMIN_ONLY, Permission, Scope
from docs.cli_examples import EXAMPLES, SHOWN_ONLY
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


FRAMEWORK_ERRORS = (
    (405, "BAD_REQUEST", "The path takes other methods; `Allow` names them"),
    (408, "BAD_REQUEST", "The body did not arrive in time"),
)


def errors_page() -> str:
    """Every error code with its status."""
    lines = ["# Errors", "", MARK, ""]
    lines += ["Every error has the same shape; `detail` repeats `message`.", "", "```json"]
    lines += ['{"success": false, "message": "…", "error_code": "WORKFLOW_NOT_FOUND", "details": {}, "detail": "…",']
    lines += [' "request_id": "…"}', "```", ""]
    lines += ["With `Accept: application/problem+json` the same facts come as RFC 9457."]
    lines += ["A 400 for fields of the request lists every problem at once in `details.errors`, each with its place"]
    lines[-1] += " (`loc`); a request that cannot be read at all (no JSON, no such cursor) has the message alone."
    lines += ["Below `/api/v1` a query parameter that a route with parameters does not know is such a 400 (`loc` is `[\"query\", name]`, `hint` may say what was meant); the short paths ignore it."]
    lines += ["", "| status | code | means |", "|---|---|---|"]
    for status, code, meaning in sorted({*_errors(errors.MillraceError), *FRAMEWORK_ERRORS}):
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
    """Every command, with an example of each."""
    lines = ["# Command line", "", MARK, "", *CLI_HEAD.splitlines(), ""]
    for path, command in _commands(command_line, "millrace"):
        arguments = [_argument(parameter) for parameter in command.params if isinstance(parameter, click.Argument)]
        lines += [f"## {' '.join([path, *arguments])}", "", *_help(command), ""]
        options = [
            parameter
            for parameter in command.params
            if isinstance(parameter, click.Option) and not is_common(parameter)
        ]
        lines += [f"- `{' / '.join([*o.opts, *o.secondary_opts])}` {o.help or ''}".rstrip() for o in options]
        lines += [""] if options else []
        lines += [f"```bash {'norun' if path in SHOWN_ONLY else 'plain'}", EXAMPLES[path], "```", ""]
    return "\n".join(lines).rstrip() + "\n"


CLI_HEAD = """`millrace COMMAND`, or `python -m cli COMMAND` in a checkout.

## Whom a command asks

Commands speak the HTTP API, so they do, refuse and record what a request would.

1. `--url` or `MILLRACE_URL`: that server, with the key in `--key` or `MILLRACE_KEY`.
2. Else, when a server holds the SQLite database of these settings (`DATA_DIR`): that server; its lock file says where it listens. It wants a key, too.
3. Else, with a key and without a database here: the server at `HOST` and `PORT`, when one answers.
4. Else the database of these settings itself, as the operator of this machine, who needs no key. On PostgreSQL that is so beside servers and workers as well.

`--direct` goes to the database even while a server holds it: for the operator who has lost the last key. It writes rows, as any request does, and leaves driving to the server.

`backup`, `restore`, `migrate` and `import` always work on the database of these settings; `validate` needs neither server nor database. `audit` and `executions` are about what is there already: without a database at `DATA_DIR` they say so, and make none.

`run` and `executions follow` drive executions themselves while no server or worker does. Until they end they drive whatever else is due in that database, too, as a server would.

## Options of every command

- `-o, --output table|json` Form of the answer; before or behind the command. JSON goes to standard output, everything else to standard error. With `json` an error is one line of JSON there, the last one: `success` false, `message`, and `error_code` and `details.errors` where the API has them; wrong usage of the command line is text.
- `--url` Where the server is; behind the command, as the next two.
- `--key` API key; better in `MILLRACE_KEY`, where other users of the machine do not see it.
- `--direct` The database itself, even beside a server.

## Exit codes

| code | meaning |
|---|---|
| 0 | done; of `run` and `follow`: the execution completed |
| 1 | refused or failed; the execution failed; the audit record is broken; a definition is not valid |
| 2 | wrong usage or settings, or a key is missing |
| 3 | the server or the database cannot be reached |
| 4 | the execution was cancelled |
| 5 | the execution has not ended within `--timeout` |
| 130 | interrupted with Ctrl-C; what was started goes on, and how to follow it is said |

## Completion

```bash norun
eval "$(millrace completion bash)"                                    # ~/.bashrc
eval "$(millrace completion zsh)"                                     # ~/.zshrc
millrace completion fish > ~/.config/fish/completions/millrace.fish
```

Commands and options are completed, and workflows and executions as far as the server or the database answers."""


def _help(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").splitlines()


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
