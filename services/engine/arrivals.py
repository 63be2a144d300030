"""What edges do when they arrive: tokens, splits, "once", joins. Part of `evolve`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from services.engine.contexts import Context
from services.engine.events import Fired
from services.engine.graph import Edge, Entry, Kind, Scoping
from services.engine.state import Gathering, Place, Run, State, Token


def stage(state: State, token: Token) -> None:
    """Make a task ready to start; `token.id` is given here."""
    log = state.log
    node = state.graph.nodes[token.node]
    token = Token(state.next_token, *token[1:])
    state.next_token += 1
    log.put(state.staged, token.id, token)
    log.push(state.queue if node.kind is Kind.ACTION and node.items is None else state.free, token.id)
    born(state, (token.node, token.route))


def born(state: State, place: Place) -> None:
    """Something stands here now."""
    state.alive += 1
    if state.graph.flow.joins:
        state.log.count(state.live, place, 1)


def gone(state: State, place: Place) -> None:
    """Something that stood here does not any more."""
    state.alive -= 1
    if state.graph.flow.joins:
        state.log.count(state.live, place, -1)


def follow(state: State, run: Run, fired: tuple[Fired, ...]) -> None:
    """Let everything arrive that the end of a run leads to; a branch that ends here adds its variables to the leaves."""
    context = run.context
    assert context is not None
    if len(fired) != 1:
        context.shared = True
    if not fired:
        leave(state, context)
        return
    steps = state.graph.nodes[run.node].next
    spared = run.cleanup and state.graph.profile.fail_waits
    cleanup = spared or any(steps[entry.transition].fails for entry in fired)
    together = _Together({}, {})
    for entry in fired:
        _fire(state, run, entry, (cleanup, together))
    for start in together.starting.values():
        stage(state, start)
    for target, arrivals in together.joining.items():
        _gather(state, run, target, arrivals)


def _fire(state: State, run: Run, entry: Fired, shared: tuple[bool, _Together]) -> None:
    """Send the variables of a transition along its edges."""
    cleanup, together = shared
    context, error = run.context, run.failure or run.error
    assert context is not None
    edges = state.graph.nodes[run.node].next[entry.transition].edges
    after = publish(state, context, entry) if entry.delta else context
    if len(edges) > 1:
        after.shared = True
    for edge in edges:
        token = Token(0, edge.target, run.route, (run.key,), after, cleanup, run.rounds, error)
        _send(state, run, edge, (token, together))


class _Together(NamedTuple):
    """What several transitions of one end bring to the same task."""

    starting: dict[str, Token]
    joining: dict[str, list[tuple[Context, bool]]]


def _send(state: State, run: Run, edge: Edge, sent: tuple[Token, _Together]) -> None:
    """Let one edge arrive; starts and joins wait until all edges of this end are known."""
    token, together = sent
    if edge.entry is Entry.JOIN:
        together.joining.setdefault(edge.target, []).append((token.context, token.cleanup))
    elif edge.entry is Entry.START:
        together.starting[edge.target] = _merged(state, together.starting.get(edge.target), token)
    else:
        _arrive(state, run, edge, token)


def _merged(state: State, first: Token | None, second: Token) -> Token:
    """Two transitions of one end that lead to the same task, which has no instance for each: one start."""
    if first is None:
        return second
    context = state.histories.joined(first.context, second.context)
    return second._replace(inbound=first.inbound + second.inbound, context=context)


def publish(state: State, context: Context, fired: Fired) -> Context:
    """The variables behind a transition."""
    if state.graph.profile.scoping is Scoping.GLOBAL:
        context = state.root
        context.shared = False
    return state.histories.published(context, fired.delta, fired.merged)


def leave(state: State, context: Context) -> None:
    """A branch has ended with these variables."""
    if state.leaves is None:
        context.shared = True
        state.leaves = context
    else:
        state.leaves = state.histories.joined(state.leaves, context)


def _arrive(state: State, run: Run, edge: Edge, token: Token) -> None:
    if edge.entry is None:
        leave(state, token.context)
    elif edge.entry is Entry.SPLIT:
        stage(state, token._replace(route=f"{run.route}/{edge.label}" if run.route else edge.label))
    elif (edge.target, run.route) in state.entered:
        leave(state, token.context)
    else:
        state.log.put(state.entered, (edge.target, run.route), None)
        stage(state, token)


def _gather(state: State, run: Run, target: str, arrivals: list[tuple[Context, bool]]) -> None:
    """A source arrives at a join, by one or more of its edges."""
    log = state.log
    place = (target, run.route)
    if _is_late(state, run, place):
        log.put(state.late, place, state.late[place] - {run.node})
        for context, _ in arrivals:
            leave(state, context)
        return
    gathering = state.gatherings.get(place)
    if gathering is None:
        gathering = Gathering()
        log.put(state.gatherings, place, gathering)
    log.put(gathering.arrived, run.node, None)
    for context, cleanup in arrivals:
        log.push(gathering.inbound, run.key)
        log.set(gathering, "context", state.histories.joined(gathering.context, context))
        log.set(gathering, "cleanup", cleanup or (gathering.cleanup and state.graph.profile.fail_waits))
    log.set(gathering, "error", run.failure or run.error or gathering.error)
    if run.rounds:
        log.set(gathering, "rounds", _later(gathering.rounds or {}, run.rounds))
    _complete(state, place, gathering)


def _complete(state: State, place: Place, gathering: Gathering) -> None:
    """Stage the join when enough sources have arrived."""
    join = state.graph.flow.joins[place[0]]
    if len(gathering.arrived) < join.need:
        return
    log = state.log
    log.drop(state.gatherings, place)
    rounds = gathering.rounds
    if not join.all:
        log.put(state.late, place, frozenset(join.sources) - frozenset(gathering.arrived))
        if state.graph.flow.counts_rounds:
            number = state.join_rounds.get(place, 0) + 1
            log.put(state.join_rounds, place, number)
            rounds = {**(rounds or {}), place: number}
    assert gathering.context is not None
    inbound = tuple(gathering.inbound)
    cleanup, error = gathering.cleanup, gathering.error
    stage(state, Token(0, place[0], place[1], inbound, gathering.context, cleanup, rounds, error))


def _is_late(state: State, run: Run, place: Place) -> bool:
    """Whether the join started without this source, in a round that the arrival does not descend from."""
    if run.node not in state.late.get(place, ()):
        return False
    number = state.join_rounds.get(place)
    return number is None or (run.rounds or {}).get(place, 0) < number


def _later(left: Mapping[Place, int], right: Mapping[Place, int]) -> Mapping[Place, int]:
    return {place: max(left.get(place, 0), right.get(place, 0)) for place in {**left, **right}}
