"""`compensate`: which task or action undoes which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.engine.dialects.native_tasks import KINDS
from services.engine.dialects.native_values import Place
from services.engine.graph import Compensation, Kind, Node
from services.engine.statuses import Outcome

_ENDS: Mapping[str, Outcome] = {"failed": Outcome.FAILED, "cancelled": Outcome.CANCELLED}


class Undo:
    """Turns `compensate` of every task into an undo node."""

    def __init__(
        self, nodes: dict[str, Node], places: Mapping[str, Place], sources: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._nodes = nodes
        self._places = places
        self._sources = sources

    def read(self) -> None:
        """Add undo nodes and mark the tasks that are used as such."""
        for name, task in self._sources.items():
            place = self._places[name]
            if "compensate" not in task:
                if "compensate_on" in task:
                    place.at("compensate_on").error("missing_key", "`compensate_on` needs `compensate`.")
                continue
            node = self._undo_node(name, task["compensate"], place.at("compensate"))
            if node is not None:
                compensation = Compensation(node=node, on=_ends(task, place))
                self._nodes[name] = replace(self._nodes[name], compensation=compensation)

    def _undo_node(self, name: str, value: Any, place: Place) -> str | None:
        """A task of this workflow, or an action that gets the input the task itself had unless it says otherwise."""
        if isinstance(value, str) and value in self._nodes:
            return self._use_task(name, value, place)
        if isinstance(value, str) and "." in value:
            value = {"action": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("action"), str):
            place.error("undefined_task", "`compensate` names a task, or an action such as pack.name.")
            return None
        place.known_keys(value, frozenset({"action", "input", "timeout"}))
        node = Node(
            id=f"{name}.undo",
            kind=KINDS.get(value["action"], Kind.ACTION),
            action=place.at("action").template(value["action"]),
            input=place.at("input").template(value["input"], secrets=True)
            if "input" in value
            else self._nodes[name].input,
            timeout=place.at("timeout").duration(value["timeout"]) if "timeout" in value else None,
            undo=True,
        )
        self._nodes[node.id] = node
        return node.id

    def _use_task(self, name: str, undo: str, place: Place) -> str | None:
        node = self._nodes[undo]
        leading = [other.id for other in self._nodes.values() for step in other.next if undo in step.do]
        if undo == name or leading or node.next:
            message = f"{undo!r} undoes another task, so nothing leads to it and it leads nowhere."
            place.error("bad_compensation", message, subject=undo)
            return None
        if node.items is not None or node.kind in (Kind.WAIT, Kind.INQUIRY) or node.delay is not None:
            place.error("bad_compensation", f"{undo!r} must be a plain action to undo another task.", subject=undo)
            return None
        self._nodes[undo] = replace(node, undo=True, join=None)
        return undo


def _ends(task: Mapping[str, Any], place: Place) -> frozenset[Outcome]:
    value = task.get("compensate_on")
    if value is None:
        return frozenset(_ENDS.values())
    found: set[Outcome] = set()
    for inner, word in place.at("compensate_on").names(value):
        if word in _ENDS:
            found.add(_ENDS[word])
        else:
            inner.error("wrong_type", "`compensate_on` lists failed and cancelled.", subject=word)
    return frozenset(found)
