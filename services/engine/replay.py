"""Events as stored rows, and states from rows.

`encode` gives the JSON list of one row; `fold` rebuilds a state from rows. Fields at their default are left out. Rows
of an older format go through `UPCASTERS` first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from msgspec.structs import asdict, fields

from models.records import Effect, ErrorType
from services.engine import events
from services.engine.events import FORMAT, Event, Fired, Reused
from services.engine.evolve import evolve
from services.engine.graph import ActionFacts, Failure, Graph, Kind
from services.engine.state import State
from services.engine.statuses import Change, Outcome, Phase

Row = Sequence[Mapping[str, Any]]
"""The events of one append, as JSON."""

UPCASTERS: Mapping[int, Callable[[Row], Row]] = {}
"""Format version -> what turns its rows into those of the next version."""


class GraphMismatch(Exception):
    """These events belong to another graph."""


def fold(graph: Graph, rows: Iterable[Row], *, version: int = FORMAT) -> State:
    """The state after these rows, in order."""
    state = State(graph)
    for row in rows:
        for event in decode(row, version=version):
            apply(state, event)
    return state


def apply(state: State, event: Event) -> None:
    """Fold one event, after seeing that it belongs to the state's graph."""
    if isinstance(event, events.Started) and event.graph != state.graph.hash:
        raise GraphMismatch(f"started on graph {event.graph[:12]}, folded on {state.graph.hash[:12]}")
    evolve(state, event)


def encode(happened: Iterable[Event]) -> list[dict[str, Any]]:
    """The JSON form of the events of one append."""
    return [to_json(event) for event in happened]


def decode(row: Row, *, version: int = FORMAT) -> list[Event]:
    """The events of a stored row."""
    while version < FORMAT:
        row = UPCASTERS[version](row)
        version += 1
    return [from_json(stored) for stored in row]


def to_json(event: Event) -> dict[str, Any]:
    """One event: its name under `e`, then every field that is not at its default."""
    shape = _SHAPES[type(event)]
    stored: dict[str, Any] = {"e": shape.name}
    for (name, default, dump), value in zip(shape.dumped, shape.values(event), strict=True):
        if value is default or (default is not None and value == default):
            continue
        stored[name] = value if dump is None else dump(value)
    return stored


def from_json(stored: Mapping[str, Any]) -> Event:
    """The event of its JSON form; unknown fields are ignored."""
    shape = _BY_NAME[stored["e"]]
    values: dict[str, Any] = {}
    for name, _, load, _ in shape.fields:
        if name in stored:
            value = stored[name]
            values[name] = value if load is None else load(value)
    event: Event = shape.made(**values)
    return event


def _dump_time(at: datetime) -> str:
    text = at.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def load_time(text: str) -> datetime:
    """A stored time, aware, in UTC."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _dump_failure(failure: Failure | None) -> Any:
    if failure is None:
        return None
    return {name: value for name, value in asdict(failure).items() if value is not None}


def load_failure(stored: Mapping[str, Any] | None) -> Failure | None:
    """A stored failure."""
    if stored is None:
        return None
    return Failure(**{**stored, "type": ErrorType(stored["type"])})


def _dump_fired(fired: Iterable[Fired]) -> list[list[Any]]:
    return [[entry.transition, dict(entry.delta), list(entry.merged)] for entry in fired]


def _load_fired(stored: Iterable[Sequence[Any]]) -> tuple[Fired, ...]:
    return tuple(Fired(number, delta, tuple(merged)) for number, delta, merged in stored)


def _load_pairs(stored: Iterable[Sequence[Any]]) -> tuple[tuple[str, int], ...]:
    return tuple((node, run) for node, run in stored)


def _load_actions(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, ActionFacts]:
    return {ref: ActionFacts(kind=Kind(facts["kind"]), effect=Effect(facts["effect"])) for ref, facts in stored.items()}


def _dump_actions(actions: Mapping[str, ActionFacts]) -> dict[str, Any]:
    return {ref: {"kind": facts.kind, "effect": facts.effect} for ref, facts in actions.items()}


_REUSED_AS_IS = ("node", "route", "run", "outcome", "kind", "action", "effect", "input", "output")


def _dump_reused(runs: Iterable[Reused]) -> list[dict[str, Any]]:
    return [
        {
            **{name: getattr(run, name) for name in _REUSED_AS_IS},
            "inbound": [list(key) for key in run.inbound],
            "at": _dump_time(run.at),
            "started_at": _dump_time(run.started_at),
            "failure": _dump_failure(run.failure),
            "fired": _dump_fired(run.fired),
        }
        for run in runs
    ]


def _load_reused(stored: Iterable[Mapping[str, Any]]) -> tuple[Reused, ...]:
    return tuple(
        Reused(
            **{
                **run,
                "inbound": _load_pairs(run["inbound"]),
                "outcome": Outcome(run["outcome"]),
                "kind": Kind(run["kind"]),
                "effect": Effect(run["effect"]),
                "at": load_time(run["at"]),
                "started_at": load_time(run["started_at"]),
                "failure": load_failure(run["failure"]),
                "fired": _load_fired(run["fired"]),
            }
        )
        for run in stored
    )


_Convert = Callable[[Any], Any]
_BY_TYPE: Mapping[str, tuple[_Convert | None, _Convert | None]] = {
    "datetime": (load_time, _dump_time),
    "Outcome": (Outcome, None),
    "Phase": (Phase, None),
    "Change": (Change, None),
    "Kind": (Kind, None),
    "Kind | None": (lambda value: None if value is None else Kind(value), None),
    "Effect": (Effect, None),
    "Effect | None": (lambda value: None if value is None else Effect(value), None),
    "Failure": (load_failure, _dump_failure),
    "Failure | None": (load_failure, _dump_failure),
    "tuple[Fired, ...]": (_load_fired, _dump_fired),
    "tuple[Reused, ...]": (_load_reused, _dump_reused),
    "tuple[Any, ...] | None": (tuple, list),
    "tuple[Any, ...]": (tuple, list),
    "tuple[Mapping[str, Any], ...]": (tuple, list),
    "tuple[str, int] | None": (lambda value: None if value is None else (value[0], value[1]), list),
    "Mapping[str, ActionFacts]": (_load_actions, _dump_actions),
}
"""Annotation of a field -> how to load and dump it; what is not here is JSON already."""


class _Shape:
    """How one kind of event is stored."""

    __slots__ = ("dumped", "fields", "made", "name", "values")

    def __init__(self, made: type[Any]) -> None:
        self.made = made
        self.name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in made.__name__)[1:]
        self.fields = [
            (
                entry.name,
                entry.default,
                *_BY_TYPE.get(made.__annotations__[entry.name], (None, None)),
            )
            for entry in fields(made)
        ]
        self.dumped = [(name, default, dump) for name, default, _, dump in self.fields]
        names = [name for name, *_ in self.fields]
        self.values: Callable[[Any], tuple[Any, ...]] = attrgetter(*names)
        assert len(names) > 1, "one name alone would be given as a value, not as a tuple"


_EVENTS: tuple[type[Any], ...] = (
    events.Started, events.NodeStarted, events.AttemptStarted, events.AttemptEnded, events.ListRestarted,
    events.ListClosed, events.NodeEnded, events.TimerSet, events.TimerFired, events.InquiryAnswered,
    events.ChildPaused, events.Changed, events.StopRequested, events.Troubled, events.Logged, events.Claimed, events.Finished,
)  # fmt: skip
_SHAPES: Mapping[type[Any], _Shape] = {made: _Shape(made) for made in _EVENTS}
_BY_NAME: Mapping[str, _Shape] = {shape.name: shape for shape in _SHAPES.values()}
