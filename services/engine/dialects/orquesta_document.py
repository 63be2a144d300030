"""Read an Orquesta document strictly: every key, type and shape, all problems at once, each with its place.

What cannot be read is reported and left out, so that the checks that follow see as much of the workflow as there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.engine.dialects.orquesta_inline import inline_parameters, split_action
from services.engine.problems import Findings, join_path, nearest

Named = tuple[str, Any]

EXPRESSION = r"(?:\{\{.*?\}\}|<%.*?%>)"
ITEMS = re.compile(rf"^\s*{EXPRESSION}\s*$|^\s*(?:(?:\w+,\s?|\s+)+)?\w+\s+in\s+{EXPRESSION}\s*$")
WORKFLOW_KEYS = ("version", "name", "description", "tags", "input", "vars", "output", "tasks", "dialect")
TASK_KEYS = ("action", "input", "with", "join", "retry", "delay", "next")
TRANSITION_KEYS = ("when", "publish", "do")


@dataclass(slots=True, kw_only=True)
class TransitionText:
    """One entry of `next` as written."""

    index: int
    path: str
    when: str | None = None
    publish: list[Named] = field(default_factory=list)
    do: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class ItemsText:
    """`with` as written: the expression, the names its items get and how many run at once."""

    expression: str
    names: tuple[str, ...] = ()
    concurrency: int | str | None = None


@dataclass(slots=True, kw_only=True)
class RetryText:
    """`retry` as written."""

    count: int | str
    when: str | None = None
    delay: int | str = 0


@dataclass(slots=True, kw_only=True)
class TaskText:
    """One task as written."""

    name: str
    path: str
    action: str | None = None
    input: dict[str, Any] | str | None = None
    items: ItemsText | None = None
    has_items: bool = False
    join: int | str | None = None
    retry: RetryText | None = None
    delay: int | str = 0
    next: list[TransitionText] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class DocumentText:
    """A whole workflow as written; what is missing or unreadable is empty."""

    description: str = ""
    input: list[Named] = field(default_factory=list)
    vars: list[Named] = field(default_factory=list)
    output: list[Named] = field(default_factory=list)
    tasks: dict[str, TaskText] = field(default_factory=dict)


def read_document(document: Mapping[str, Any], findings: Findings) -> DocumentText:
    """Read the document; everything that is wrong with its shape goes to the findings."""
    reader = Reader(findings)
    reader.known_keys("", document, WORKFLOW_KEYS)
    reader.meta(document)
    text = DocumentText(
        description=str(document.get("description") or ""),
        input=reader.named_list(document, "input", bare_names=True),
        vars=reader.named_list(document, "vars"),
        output=reader.named_list(document, "output"),
    )
    if "tasks" not in document:
        findings.error("missing_key", "'tasks' is required.", subject="tasks")
    elif reader.shape("tasks", document["tasks"], dict, "a map of task names to tasks"):
        text.tasks = reader.tasks(document["tasks"])
    return text


class Reader:
    """Checks shapes and remembers what is wrong with them."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    # -- shapes that come up everywhere ------------------------------------------------------------------------------

    def wrong(self, path: str, value: Any, wanted: str) -> None:
        """Report a value of the wrong type or shape."""
        self.findings.error("wrong_type", f"{shown(value)} is not {wanted}.", path=path, task=task_of(path))

    def shape(self, path: str, value: Any, kind: type, wanted: str) -> bool:
        """Whether the value is of this type and not empty; reported when not."""
        good = isinstance(value, kind) and bool(value)
        if not good:
            self.wrong(path, value, wanted)
        return good

    def known_keys(self, path: str, value: Mapping[Any, Any], known: tuple[str, ...]) -> None:
        """Report every key that does not belong here, with the nearest one that does."""
        for key in value:
            if key not in known:
                self.findings.error(
                    "unknown_key", f"{shown(key)} is not a key of {path or 'the workflow'}.",
                    path=join_path(path, str(key)), task=task_of(path), subject=str(key), hint=nearest(str(key), known),
                )  # fmt: skip

    def text(self, path: str, value: Any) -> str | None:
        """A text that is not empty."""
        return value if self.shape(path, value, str, "a text") else None

    def number(self, path: str, value: Any, default: int | str = 0) -> int | str:
        """A whole number from 0, or a text that is evaluated to one."""
        if (isinstance(value, int) and not isinstance(value, bool) and value >= 0) or (
            isinstance(value, str) and value
        ):
            return value
        self.wrong(path, value, "a whole number from 0 or an expression")
        return default

    def named_list(self, parent: Mapping[str, Any], key: str, *, bare_names: bool = False) -> list[Named]:
        """A list of maps with one entry each; where bare names are allowed their value is null."""
        if key not in parent:
            return []
        value = parent[key]
        wanted = "a list of maps with one entry each" + (" or names" if bare_names else "")
        if not self.shape(key, value, list, wanted):
            return []
        if repeats(value):
            self.wrong(key, value, "a list without equal entries")
        return list(self.named(key, value, wanted, bare_names=bare_names))

    def named(self, path: str, entries: list[Any], wanted: str, *, bare_names: bool) -> Iterator[Named]:
        """The name and value of every entry that has one of each."""
        for index, entry in enumerate(entries):
            if is_named(entry):
                yield next(iter(entry.items()))
            elif bare_names and isinstance(entry, str) and entry:
                yield entry, None
            else:
                self.wrong(
                    join_path(path, index), entry, wanted.replace("a list of maps", "a map").replace(" each", "")
                )

    # -- the parts of a workflow -------------------------------------------------------------------------------------

    def meta(self, document: Mapping[str, Any]) -> None:
        """Name, description and tags say nothing to the engine but have their types."""
        for key in ("name", "description"):
            if key in document:
                self.text(key, document[key])
        if "tags" in document and self.shape("tags", document["tags"], list, "a list of texts"):
            for index, tag in enumerate(document["tags"]):
                self.text(join_path("tags", index), tag)

    def tasks(self, tasks: Mapping[Any, Any]) -> dict[str, TaskText]:
        """Every task that is one."""
        found: dict[str, TaskText] = {}
        for name, task in tasks.items():
            path = f"tasks.{name}"
            if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
                self.findings.error(
                    "bad_task_name", f"A task name is letters, digits and _: {shown(name)}.", path="tasks"
                )
            elif isinstance(task, dict):
                found[name] = self.task(name, path, task)
            else:
                self.wrong(path, task, "a map")
        return found

    def task(self, name: str, path: str, task: Mapping[str, Any]) -> TaskText:
        """One task; inline parameters of its action win over `input`."""
        self.known_keys(path, task, TASK_KEYS)
        text = TaskText(name=name, path=path, has_items=bool(task.get("with")))
        readers: Mapping[str, Callable[[TaskText, str, Any], None]] = {
            "input": self.task_input,
            "action": self.task_action,
            "with": self.task_items,
            "join": self.task_join,
            "retry": self.task_retry,
            "delay": self.task_delay,
            "next": self.task_next,
        }
        for key, read in readers.items():
            if key in task:
                read(text, join_path(path, key), task[key])
        return text

    def task_input(self, task: TaskText, path: str, value: Any) -> None:
        """A map, or an expression that gives one."""
        if isinstance(value, dict | str) and value:
            task.input = value
        else:
            self.wrong(path, value, "a map with at least one entry or an expression")

    def task_action(self, task: TaskText, path: str, value: Any) -> None:
        """The action, and what its inline parameters give it."""
        action = self.text(path, value)
        if action is not None:
            task.action, inline = split_action(action)
            task.input = inline if inline is not None else task.input

    def task_items(self, task: TaskText, path: str, value: Any) -> None:
        """The list a task runs over, and how many of its items at once."""
        value = {"items": value} if isinstance(value, str) else value
        if not self.shape(path, value, dict, "an expression, or a map with items"):
            return
        self.known_keys(path, value, ("items", "concurrency"))
        items = value.get("items")
        if not isinstance(items, str) or not ITEMS.search(items):
            self.wrong(join_path(path, "items"), items, "an expression, or 'names in' an expression")
            return
        names, joined, expression = (
            items.partition(" in ") if not items.strip().startswith(("{{", "<%")) else ("", "", items)
        )
        task.items = ItemsText(
            expression=expression.strip(),
            names=tuple(name for name in names.replace(" ", "").split(",") if name) if joined else (),
        )
        if "concurrency" in value:
            task.items.concurrency = self.number(join_path(path, "concurrency"), value["concurrency"])

    def task_join(self, task: TaskText, path: str, value: Any) -> None:
        """How many tasks have to arrive."""
        if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            task.join = value
        else:
            self.wrong(path, value, "'all' or a whole number from 0")

    def task_retry(self, task: TaskText, path: str, value: Any) -> None:
        """How often, when and after how long the task is tried again."""
        if not self.shape(path, value, dict, "a map with count, and when and delay if needed"):
            return
        self.known_keys(path, value, ("when", "count", "delay"))
        when = self.text(join_path(path, "when"), value["when"]) if "when" in value else None
        delay = self.number(join_path(path, "delay"), value["delay"]) if "delay" in value else 0
        if "count" in value:
            task.retry = RetryText(when=when, count=self.number(join_path(path, "count"), value["count"]), delay=delay)
        else:
            self.findings.error("missing_key", "'count' is required.", path=path, task=task.name, subject="count")

    def task_delay(self, task: TaskText, path: str, value: Any) -> None:
        """Seconds before the action starts."""
        task.delay = self.number(path, value)

    def task_next(self, task: TaskText, path: str, value: Any) -> None:
        """The transitions, in their order."""
        if not isinstance(value, list):
            self.wrong(path, value, "a list of transitions")
            return
        for index, entry in enumerate(value):
            place = join_path(path, index)
            if isinstance(entry, dict):
                task.next.append(self.transition(index, place, entry))
            else:
                self.wrong(place, entry, "a map with when, publish and do")

    def transition(self, index: int, path: str, entry: Mapping[str, Any]) -> TransitionText:
        """One entry of `next`."""
        self.known_keys(path, entry, TRANSITION_KEYS)
        text = TransitionText(index=index, path=path)
        if "when" in entry:
            text.when = self.text(join_path(path, "when"), entry["when"])
        if "publish" in entry:
            text.publish = self.publish(join_path(path, "publish"), entry["publish"])
        if "do" in entry:
            text.do = self.targets(join_path(path, "do"), entry["do"])
        return text

    def publish(self, path: str, value: Any) -> list[Named]:
        """`a=1 b=2`, or a list of maps with one entry each."""
        if isinstance(value, str) and value:
            return inline_parameters(value)
        if isinstance(value, list) and value and all(map(is_named, value)) and not repeats(value):
            return [next(iter(entry.items())) for entry in value]
        self.wrong(path, value, "a text of name=value pairs or a list of maps with one entry each")
        return []

    def targets(self, path: str, value: Any) -> list[str]:
        """A comma list or a list of different names."""
        if isinstance(value, str) and value:
            return list(dict.fromkeys(name.strip() for name in value.split(",")))
        if (
            isinstance(value, list)
            and value
            and all(isinstance(name, str) and name for name in value)
            and not repeats(value)
        ):
            return value
        self.wrong(path, value, "a task, a comma list of tasks or a list of different tasks")
        return []


def is_named(entry: Any) -> bool:
    """Whether an entry is a map with one name and its value."""
    return isinstance(entry, dict) and len(entry) == 1 and isinstance(next(iter(entry)), str)


def repeats(entries: list[Any]) -> bool:
    """Whether two entries are equal; lists of names are compared as a set, small lists of maps one by one."""
    if all(isinstance(entry, str) for entry in entries):
        return len(set(entries)) < len(entries)
    seen = [repr(entry) for entry in entries]
    return len(set(seen)) < len(seen)


def shown(value: Any) -> str:
    """A value as its author would recognise it, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def task_of(path: str) -> str | None:
    """The task that a path lies in."""
    parts = path.split(".")
    return parts[1].split("[")[0] if len(parts) > 1 and parts[0] == "tasks" else None
