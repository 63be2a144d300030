"""The wpk dialect: a workflow package (`name-version`) becomes a graph.

Handlers run one after the other; where the package asks for it, a dry run of all of them and a person's approval come
first, and a failure is followed by the rollback handlers before the execution fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.engine.assemble import Parts, build
from services.engine.dialects.wpk_document import Handler, PackageText, read_package
from services.engine.expressions import ExpressionError, Template, compile_template, literal_template
from services.engine.graph import Assignment, Command, Graph, Kind, Node, Profile, Retry, Transition
from services.engine.problems import Findings
from services.engine.statuses import Outcome

SUCCEEDED = frozenset({Outcome.COMPLETED, Outcome.SKIPPED})
FAILED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})
APPROVAL = "approval"
DRY_RUN = "dry_run_"

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_QUESTION = {
    "type": "object",
    "required": ["approved"],
    "properties": {"approved": {"type": "boolean"}, "comment": {"type": "string"}},
}


def compile_wpk(document: Mapping[str, Any], findings: Findings) -> Graph | None:
    """The graph of a package; None when the findings have errors."""
    text = read_package(document, findings)
    compiler = _Compiler(text, findings)
    nodes = compiler.nodes()
    if findings.errors or not nodes:
        return None
    return build(
        nodes,
        Parts(
            dialect="wpk",
            profile=Profile(),
            inputs=tuple(
                Assignment(name=name, value=literal_template(value), required=value is None)
                for name, value in text.parameters.items()
            ),
            output=tuple(
                Assignment(
                    name=handler.id, value=compiler.value(_in_braces(f"task.{handler.id}.result | default(none)"), "")
                )
                for handler in text.handlers
            ),
        ),
    )


class _Compiler:
    """Compiles the handlers of one package."""

    def __init__(self, text: PackageText, findings: Findings) -> None:
        self.text = text
        self.findings = findings

    def nodes(self) -> list[Node]:
        """Dry run, approval, handlers, rollback: each part leads to the next."""
        text = self.text
        if not text.handlers:
            return []
        first = text.handlers[0].id
        made: list[Node] = []
        if text.needs_dry_run:
            after = APPROVAL if text.needs_approval else first
            made += [self.rehearsal(index, after) for index in range(len(text.handlers))]
        if text.needs_approval:
            made.append(self.approval(first))
        made += [self.action(handler, self.following(index)) for index, handler in enumerate(text.handlers)]
        return made + [self.undoing(index) for index in range(len(text.rollback))]

    def following(self, index: int) -> tuple[Transition, ...]:
        """The next handler after success; the rollback after a failure."""
        handlers = self.text.handlers
        after = handlers[index + 1 : index + 2]
        steps = [Transition(when=SUCCEEDED, do=tuple(handler.id for handler in after))]
        if self.text.rollback:
            publish = (Assignment(name="failed_handler", value=literal_template(handlers[index].name)),)
            steps.append(Transition(when=FAILED, publish=publish, do=(self.text.rollback[0].id,)))
        return tuple(steps)

    def rehearsal(self, index: int, after: str) -> Node:
        """A handler that is told to do nothing, before anything is done."""
        handlers = self.text.handlers
        handler = handlers[index]
        target = DRY_RUN + handlers[index + 1].id if index + 1 < len(handlers) else after
        made = self.action(handler, (Transition(when=SUCCEEDED, do=(target,)),), {"dry_run": True})
        return _renamed(made, DRY_RUN + handler.id)

    def undoing(self, index: int) -> Node:
        """A rollback handler: the next one follows whatever came out, after the last the execution fails."""
        rollback = self.text.rollback
        if index + 1 < len(rollback):
            step = Transition(do=(rollback[index + 1].id,))
        else:
            message = self.value("{{ vars.failed_handler }} failed; the rollback was run.", "")
            step = Transition(do=(Command.FAIL,), message=message)
        return self.action(rollback[index], (step,))

    def approval(self, first: str) -> Node:
        """A person agrees, or nothing happens."""
        asked = {
            "prompt": f"May {self.text.title} run?",
            "response_schema": _QUESTION,
            "handlers": [handler.name for handler in self.text.handlers],
        }
        if self.text.safety.get("approvers"):
            asked["assignees"] = self.text.safety["approvers"]
        approved = self.value("{{ succeeded() and result().response.approved }}", "spec.safety")
        refused = self.value("{{ succeeded() and not result().response.approved }}", "spec.safety")
        return Node(
            id=APPROVAL,
            kind=Kind.INQUIRY,
            action=literal_template("core.inquiry"),
            input=literal_template(asked),
            next=(
                Transition(when=approved, do=(first,)),
                Transition(when=refused, do=(Command.FAIL,), message=literal_template("The run was not approved.")),
            ),
        )

    def action(
        self, handler: Handler, following: tuple[Transition, ...], more: Mapping[str, Any] | None = None
    ) -> Node:
        """One handler as a node."""
        retry = None
        if handler.retries:
            delay = literal_template(handler.backoff_s) if handler.backoff_s else None
            retry = Retry(count=literal_template(handler.retries), delay=delay)
        return Node(
            id=handler.id,
            kind=Kind.ACTION,
            action=literal_template(f"wpk.{handler.type}"),
            input=self.value({**self.written(handler.config), **(more or {})}, handler.path),
            next=following,
            retry=retry,
            timeout=None if handler.timeout_s is None else literal_template(handler.timeout_s),
            labels={"label": handler.name, "handler_type": handler.type},
        )

    def written(self, value: Any) -> Any:
        """The configuration with `${NAME}` as expressions; every other text means itself."""
        if isinstance(value, Mapping):
            return {str(key): self.written(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.written(item) for item in value]
        return self.text_of(value) if isinstance(value, str) else value

    def text_of(self, source: str) -> str:
        """A text: variables become lookups, braces that mean themselves are quoted."""
        parts: list[str] = []
        end = 0
        for match in _VARIABLE.finditer(source):
            parts += [_quoted(source[end : match.start()]), self.lookup(match[1], match[2])]
            end = match.end()
        return "".join([*parts, _quoted(source[end:])])

    def lookup(self, name: str, default: str | None) -> str:
        """A declared parameter or one with a default; anything else is a secret."""
        if default is not None:
            return _in_braces(f"parameters.{name} | default({_literal(default)})")
        return _in_braces(f"parameters.{name}" if name in self.text.parameters else f"secrets.{name}")

    def value(self, source: Any, path: str) -> Template:
        try:
            return compile_template(source, secrets=True)
        except ExpressionError as error:
            for problem in error.problems:
                self.findings.error(problem.code, f"{problem.message} in {problem.expression}", path=path)
            return literal_template(None)


def _quoted(text: str) -> str:
    special = "{{" in text or "{%" in text or "{#" in text
    return _in_braces(_literal(text)) if special else text


def _in_braces(expression: str) -> str:
    return "{{ " + expression + " }}"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _renamed(node: Node, node_id: str) -> Node:
    return replace(node, id=node_id, labels={**node.labels, "label": f"{node.labels['label']} (dry run)"})
