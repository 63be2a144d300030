"""The nodes dialect: a graph of typed nodes with ports, as drawn in an editor, becomes a graph of ours.

The 21 node types compile as the language reference says; triggers are kept in the document and fire nothing.
A failed node ends its path, as in the engine these graphs come from, unless a connection leaves its error port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.engine.assemble import Parts, build
from services.engine.dialects import nodes_text as write
from services.engine.dialects.nodes_config import MAX_ROUNDS
from services.engine.dialects.nodes_document import ERROR_PORTS, DocumentText, Link, NodeText, read_document
from services.engine.dialects.nodes_flow import FlowText, Loop, flow_of, meeting, reach
from services.engine.dialects.nodes_kinds import KINDS, Values, count_variable, index_variable, published_names
from services.engine.graph import (
    Assignment,
    Backoff,
    Command,
    Graph,
    Kind,
    Need,
    Node,
    Profile,
    Retry,
    Transition,
)
from services.engine.problems import Findings, join_path
from services.engine.statuses import Outcome

PROFILE = Profile(fail_fast=False)
SUCCEEDED = frozenset({Outcome.COMPLETED, Outcome.SKIPPED})
FAILED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})
LABELS = ("label", "position", "metadata", "description")
_FAIL = (Command.FAIL,)
_CAN_FAIL = frozenset({Kind.ACTION, Kind.WORKFLOW, Kind.INQUIRY})


def compile_nodes(document: Mapping[str, Any], findings: Findings) -> Graph | None:
    """The graph of a document; None when the findings have errors."""
    text = read_document(document, findings)
    flow = flow_of(text, findings)
    if findings.errors:
        return None
    compiler = _Compiler(flow, Values(findings))
    nodes = compiler.nodes()
    if findings.errors:
        return None
    return build(nodes, _parts(text, compiler.values, published_names(text)))


def enter_id(loop: str) -> str:
    """The node in front of a loop over a list, which counts its elements."""
    return f"{loop}__enter"


def next_id(node: str) -> str:
    """The node behind one that sets variables which its connections ask for."""
    return f"{node}__next"


def _parts(text: DocumentText, values: Values, names: Iterable[str]) -> Parts:
    variables = [str(name) for name in text.variables]
    output = dict.fromkeys([*variables, *names])
    seconds = text.metadata.get("max_execution_time_seconds")
    limited = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0
    return Parts(
        dialect="nodes",
        profile=PROFILE,
        inputs=tuple(Assignment(name=name, value=values.literal(text.variables[name])) for name in text.variables),
        vars=tuple(
            Assignment(name=name, value=values.expression(f"parameters[{write.literal(name)}]", "global_variables"))
            for name in variables
        ),
        output=tuple(
            Assignment(name=name, value=values.compile(write.as_value(name), join_path("output", name)))
            for name in output
        ),
        limits={"workflow_timeout_s": seconds} if limited and seconds is not None else {},
    )


class _Compiler:
    """Compiles the nodes of one document."""

    def __init__(self, flow: FlowText, values: Values) -> None:
        self.flow = flow
        self.values = values
        self.after: list[Node] = []
        """Nodes behind others, where connections ask for what these have just set."""

    def nodes(self) -> list[Node]:
        """All nodes that can be reached, the entrances of loops, and an entrance where a start is part of a loop."""
        made = [self.node(text) for text in self.flow.text.nodes.values() if text.id in self.flow.reachable]
        made += [self.entrance(text) for text in self._counted()]
        made += self.after
        targets = {target for node in made for step in node.next for target in step.do}
        starts = [self.target(start, None) for start in self.flow.starts]
        if any(start in targets for start in starts):
            made.append(Node(id=self._start_id(), kind=Kind.PASS, next=(Transition(do=tuple(starts)),)))
        return made

    def _counted(self) -> list[NodeText]:
        return [self.flow.text.nodes[loop] for loop in self.flow.loops if self._is_counted(loop)]

    def _is_counted(self, node: str) -> bool:
        return self.flow.text.nodes[node].type == "loop_foreach"

    def _start_id(self) -> str:
        triggers = [node.id for node in self.flow.text.nodes.values() if node.is_trigger]
        return triggers[0] if triggers else "__start"

    def target(self, node: str, source: str | None) -> str:
        """Where a connection leads: into a loop over a list through its entrance, unless it comes from its body."""
        loop = self.flow.loops.get(node)
        if loop is None or not self._is_counted(node) or source == node or source in loop.body:
            return node
        return enter_id(node)

    def node(self, text: NodeText) -> Node:
        """One node with its transitions."""
        body = KINDS[text.type](text, self.values)
        kind = body.get("kind", Kind.PASS)
        step = self.transitions(text, kind, body.pop("publish", ()))
        retry = body.pop("retry", None) or (self._retry() if kind is Kind.ACTION else None)
        labels = {key: text.config[key] for key in LABELS if key in text.config} | {"node_type": text.type}
        return Node(id=text.id, next=tuple(step), join=self.join(text), retry=retry, labels=labels, **body)

    def _retry(self) -> Retry | None:
        """`retry_failed_nodes` of the whole workflow: 1, 2, 4 … seconds."""
        metadata = self.flow.text.metadata
        count = metadata.get("max_retries", 0)
        if not metadata.get("retry_failed_nodes") or not isinstance(count, int) or count < 1:
            return None
        literal = self.values.literal
        return Retry(count=literal(count), delay=literal(1), backoff=Backoff.EXPONENTIAL)

    def join(self, text: NodeText) -> Need | int | None:
        """A merge waits for every path that can be taken; another node runs once for each of them."""
        if text.id in self.flow.loops:
            return None
        paths = meeting(self.flow, text.id)
        if text.type != "flow_merge":
            return Need.EACH if paths > 1 else None
        required = int(text.config.get("input_ports_required", -1))
        if required > paths:
            message = f"The merge needs {required} inputs, but at most {paths} can arrive."
            self.values.findings.error("unreachable_join", message, path=text.path, task=text.id)
        wanted = 1 if self._first_wins(text.id) else paths if required == -1 else required
        sources = {link.source for link in self.flow.text.links if link.target == text.id}
        return None if paths < 2 else Need.ALL if wanted == len(sources) else wanted

    def _first_wins(self, merge: str) -> bool:
        """Does the merge close a flow_parallel of which only the first branch counts?"""
        return any(
            node.type == "flow_parallel"
            and node.config.get("execution_type") == "any_first"
            and node.id in self.flow.reachable
            and self._leads_to(node.id, merge)
            for node in self.flow.text.nodes.values()
        )

    def _leads_to(self, source: str, target: str) -> bool:
        return target in reach(self.flow.text.links, [source])

    def transitions(self, text: NodeText, kind: Kind, publish: tuple[Assignment, ...]) -> list[Transition]:
        """What follows a node."""
        links = self.flow.links_from(text.id)
        loop = self.flow.loops.get(text.id)
        if loop is not None:
            return self._loop_steps(text, loop)
        if text.type in {"condition_if", "condition_switch"}:
            return self._choices(text, links)
        if text.type == "loop_break":
            return self._break_steps(text, links)
        fails = kind in _CAN_FAIL
        ended = [link for link in links if not (fails and link.port in ERROR_PORTS)]
        condition = "succeeded()" if fails else ""
        if publish and any(link.conditional for link in ended):
            self.after.append(Node(id=next_id(text.id), kind=Kind.PASS, next=tuple(self._steps(text, ended, "", ()))))
            steps = [Transition(when=self._when(condition, text.path), publish=publish, do=(next_id(text.id),))]
        else:
            steps = self._steps(text, ended, condition, publish)
        if fails:
            failed = [link for link in links if link.port in ERROR_PORTS]
            steps += self._steps(text, failed, "failed()", ()) if failed else [self._dropped(text)]
        return steps

    def _dropped(self, text: NodeText) -> Transition:
        around = self.flow.loop_of(text.id)
        return Transition(when=FAILED, do=(around.node if around else Command.NOOP,))

    def _steps(
        self, text: NodeText, links: list[Link], condition: str, publish: tuple[Assignment, ...]
    ) -> list[Transition]:
        """Connections of one way out: those without a condition together, each other one by itself, and the way back."""
        plain = [link for link in links if not link.conditional]
        gated = [(link, f"({write.connection_condition(link.conditional)})") for link in links if link.conditional]
        steps: list[Transition] = []
        if plain or not gated:
            targets = self._targets(plain) or (() if gated else self._back(text))
            steps.append(Transition(when=self._when(condition, text.path), publish=publish, do=targets))
        for link, extra in gated:
            when = self._when(_and(condition, extra), link.path)
            steps.append(Transition(when=when, do=self._targets([link])))
        if gated and not plain and self._back(text):
            none = " and ".join(f"not {extra}" for _, extra in gated)
            steps.append(Transition(when=self._when(_and(condition, none), text.path), do=self._back(text)))
        return steps

    def _targets(self, links: Iterable[Link]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.target(link.target, link.source) for link in links))

    def _back(self, text: NodeText) -> tuple[str, ...]:
        """Where a path without continuation goes: to the next round of the loop around it, else nowhere."""
        around = self.flow.loop_of(text.id)
        return (around.node,) if around and text.type != "flow_end" else ()

    def _when(self, condition: str, path: str) -> Any:
        if condition in {"", "succeeded()", "failed()"}:
            return {"": None, "succeeded()": SUCCEEDED, "failed()": FAILED}[condition]
        return self.values.expression(condition, path)

    def _choices(self, text: NodeText, links: list[Link]) -> list[Transition]:
        steps: list[Transition] = []
        for port, condition in _ways(text):
            steps += self._steps(text, [link for link in links if link.port == port], condition, ())
        return steps

    def _break_steps(self, text: NodeText, links: list[Link]) -> list[Transition]:
        rules = text.config.get("break_condition")
        condition = f"({write.condition(rules)})" if rules else "true"
        around = self.flow.loop_of(text.id)
        out = [link for link in links if link.port == "break"]
        after = self._targets(out or (around.exit_links if around else ()))
        steps = [Transition(when=self.values.expression(condition, text.path) if rules else None, do=after)]
        if rules:
            steps += self._steps(text, [link for link in links if link.port != "break"], f"not {condition}", ())
        return steps

    def _loop_steps(self, text: NodeText, loop: Loop) -> list[Transition]:
        index = write.lookup(index_variable(text.id))
        rounds = f"({index} | default(0))"
        if text.type == "loop_while":
            condition = f"({write.condition(text.config['condition'])})"
            publish = self._assignments(text, {index_variable(text.id): f"{rounds} + 1"})
        else:
            condition = f"({rounds} < {write.lookup(count_variable(text.id))})"
            publish = self._round(text)
        most = int(text.config.get("max_iterations", MAX_ROUNDS))
        body, out = self._targets(loop.body_links) or (text.id,), self._targets(loop.exit_links) or self._back(text)
        again = self._assignments(text, {index_variable(text.id): "0"})
        message = self.values.literal(f"The loop {text.id!r} goes on after {most:,} rounds.")
        return [
            Transition(when=self._when(f"{condition} and {rounds} < {most}", text.path), publish=publish, do=body),
            Transition(when=self._when(f"{condition} and {rounds} >= {most}", text.path), do=_FAIL, message=message),
            Transition(when=self._when(f"not {condition}", text.path), publish=again, do=out),
        ]

    def _assignments(self, text: NodeText, sources: Mapping[str, str]) -> tuple[Assignment, ...]:
        return tuple(
            Assignment(name=name, value=self.values.expression(source, text.path)) for name, source in sources.items()
        )

    def _round(self, text: NodeText) -> tuple[Assignment, ...]:
        config = text.config
        index, array = write.lookup(index_variable(text.id)), write.lookup(config["array_variable"])
        entries = {
            str(config.get("item_variable", "item")): f"{array}[{index}]",
            str(config.get("index_variable", "index")): index,
            index_variable(text.id): f"{index} + 1",
        }
        return self._assignments(text, entries)

    def entrance(self, text: NodeText) -> Node:
        """Counts the list before the first round; what has no length fails the execution here."""
        array = write.lookup(text.config["array_variable"])
        publish = (
            Assignment(name=count_variable(text.id), value=self.values.expression(f"{array} | length", text.path)),
            Assignment(name=index_variable(text.id), value=self.values.literal(0)),
        )
        return Node(id=enter_id(text.id), kind=Kind.PASS, next=(Transition(publish=publish, do=(text.id,)),))


def _and(*parts: str) -> str:
    return " and ".join(part for part in parts if part)


def _ways(text: NodeText) -> list[tuple[str, str]]:
    """The ports of a condition, each with what must hold."""
    config = text.config
    if text.type == "condition_if":
        condition = f"({write.condition(config['condition'])})"
        true, false = config.get("output_true_port", "true"), config.get("output_false_port", "false")
        return [(str(true), condition), (str(false), f"not {condition}")]
    value = f"({write.lookup(config['variable'])} | default('', true) | string)"
    ports: dict[str, list[str]] = {}
    for case, port in config["cases"].items():
        ports.setdefault(str(port), []).append(str(case))
    ways = [(port, f"{value} in {write.literal(cases)}") for port, cases in ports.items()]
    every = [str(case) for case in config["cases"]]
    return [*ways, (str(config.get("default_port", "default")), f"{value} not in {write.literal(every)}")]
