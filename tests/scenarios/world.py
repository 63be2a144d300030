"""Drives one scenario through the engine: mocked results in, commands out, time and people played.

Nothing here knows a single scenario, and the engine does not know this. After every decision the events take the way
through their stored JSON form; after every step of the script the whole log is folded anew and compared.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from models.records import Effect, ErrorType
from services.adapters.expression_sandbox import answer_request
from services.engine import commands as do
from services.engine import events as happened
from services.engine import inputs as tell
from services.engine.decide import decide
from services.engine.events import Event
from services.engine.evolve import evolve
from services.engine.graph import ActionFacts, Failure, Graph, Kind, Limits
from services.engine.replay import encode, fold
from services.engine.rerun import From, Refused, plan
from services.engine.state import State
from services.engine.statuses import Outcome, Phase
from tests.scenarios.mocks import Answer, Mocks
from tests.scenarios.orders import Pick
from tests.scenarios.picture import different, picture
from tests.scenarios.scenario import Scenario

LIMITS = Limits(max_parallel_nodes=10_000)
START = datetime(2026, 1, 1, tzinfo=UTC)
MAX_INPUTS = 5_000
OUTCOMES = {
    "succeeded": Outcome.COMPLETED,
    "failed": Outcome.FAILED,
    "abandoned": Outcome.FAILED,
    "timeout": Outcome.TIMED_OUT,
    "canceled": Outcome.CANCELLED,
}
ERRORS = {
    "failed": ErrorType.EXECUTION,
    "abandoned": ErrorType.EXECUTION,
    "timeout": ErrorType.TIMEOUT,
    "canceled": ErrorType.CANCELLED,
}
AT_ONCE = {"delay", "retry", "wait"}
"""Timers whose time is not waited for; the others end what nobody answered."""


class HarnessError(Exception):
    """The script asks for what cannot be done at this point, or the engine broke a promise to its shell."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """An action or child execution that has not ended."""

    command: do.Perform | do.StartChild
    label: str
    """How checkpoints and scripts call it."""

    @property
    def task(self) -> str:
        """Name of its task."""
        return self.command.node


class World:
    """One execution, and after a re-run the next, with everything around them."""

    def __init__(self, scenario: Scenario, graph: Graph, pick: Pick) -> None:
        self.scenario = scenario
        self.graph = graph
        self.pick = pick
        self.mocks = Mocks(scenario.action_results)
        self.hold = set(scenario.hold)
        self.now = START
        self.inputs = 0
        self.states: list[State] = []
        self.rows: list[str] = []
        self.in_flight: list[InFlight] = []
        self.waiting: list[do.OpenInquiry] = []
        self.timers: dict[str, datetime] = {}
        self.delays: dict[tuple[str, int, int | None], float] = {}
        self.actions: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.repeated: list[set[str]] = [set()]
        """For each execution the tasks that its re-run began with."""
        self.begin(None)

    @property
    def state(self) -> State:
        """The live state."""
        return self.states[-1]

    # -- the engine --------------------------------------------------------------------------------------------------

    def begin(self, reuse: tell.Reuse | None) -> None:
        """Start the execution, or one that takes over results of the last."""
        self.states.append(State(self.graph))
        self.rows, self.in_flight, self.waiting, self.timers = [], [], [], {}
        begin = tell.Begin(
            now=self.now,
            execution_id=f"execution-{len(self.states)}",
            parameters=self.scenario.inputs,
            context=self.scenario.context,
            workflow={"ref": "scenario", "version": "1"},
            limits=LIMITS,
            actions={ref: self.facts(ref) for ref in self.literal_refs()},
            reuse=reuse,
        )
        self.say(begin)

    def literal_refs(self) -> Iterator[str]:
        """Actions that tasks name outright."""
        for node in self.graph.nodes.values():
            if node.action is not None and isinstance(node.action.source, str):
                yield node.action.source

    def facts(self, ref: str) -> ActionFacts:
        """An action whose mock waits for a person is an inquiry."""
        asks = any(
            "pending" in repr(self.scenario.action_results.get(node.id))
            for node in self.graph.nodes.values()
            if node.action is not None and node.action.source == ref
        )
        return ActionFacts(kind=Kind.INQUIRY if asks else Kind.ACTION, effect=Effect.WRITE)

    def say(self, given: tell.Input) -> bool:
        """Let the engine decide and fold what it decided; False when the request was refused."""
        self.inputs += 1
        if self.inputs > MAX_INPUTS:
            raise HarnessError(f"no end after {MAX_INPUTS} inputs")
        decision = decide(self.graph, self.state, given)
        if decision.refused is not None:
            return False
        questions = [command for command in decision.commands if isinstance(command, do.Evaluate)]
        if questions:
            return self.say(self.evaluated(given, questions[0]))
        if decision.events:
            self.rows.append(json.dumps(encode(decision.events)))
        for event in decision.events:
            evolve(self.state, event)
            self.note_delay(event)
        for command in decision.commands:
            self.carry_out(command)
        return True

    def evaluated(self, given: tell.Input, question: do.Evaluate) -> tell.Evaluated:
        """Answer what the engine cannot evaluate itself."""
        answers = {str(request["id"]): answered(request) for request in question.requests}
        return tell.Evaluated(of=given, answers=answers, actions={ref: self.facts(ref) for ref in question.actions})

    def carry_out(self, command: do.EngineCommand) -> None:
        """Note what the engine wants done."""
        match command:
            case do.Perform():
                self.requested(command, command.action, command.input, command.delay_s or self.delay_before(command))
                self.in_flight.append(InFlight(command, self.label(command.node, command.run, command.item)))
            case do.StartChild():
                self.requested(command, command.workflow, command.inputs, 0)
                self.in_flight.append(InFlight(command, self.label(command.node, command.run, command.item)))
            case do.OpenInquiry():
                run = self.state.runs[command.node, command.run]
                self.requested(command, run.action, command.input, run.delay_s)
                answer = self.mocks.next(command.node, self.route(command.node, command.run), command.item)
                if answer.status != "pending":
                    raise HarnessError(f"{command.node} opened an inquiry but its mock is {answer.status}")
                self.waiting.append(command)
            case do.SetTimer():
                self.timers[command.id] = command.at
            case do.ClearTimer():
                self.timers.pop(command.id, None)
            case do.CloseInquiry():
                self.waiting = [
                    open_one
                    for open_one in self.waiting
                    if (open_one.node, open_one.run, open_one.item) != (command.node, command.run, command.item)
                ]
            case _:
                pass  # interrupting and passing on to children: the mocks say how actions end

    def requested(self, command: Any, action: Any, given: Any, delay_s: float) -> None:
        """Remember an action request as scenarios list them."""
        self.actions.append(
            {
                "task": command.node,
                "route": self.route(command.node, command.run) or None,
                "item": command.item,
                "action": action,
                "input": dict(given) if given else None,
                "delay": delay_s or None,
            }
        )

    def note_delay(self, event: Event) -> None:
        """Remember how long a further attempt has to wait."""
        match event:
            case happened.AttemptEnded(retry_s=float() | int() as delay_s):
                self.delays[event.node, event.run, event.item] = delay_s
            case happened.ListRestarted():
                self.delays[event.node, event.run, None] = event.retry_s

    def delay_before(self, command: do.Perform) -> float:
        """The delay of this attempt, if it is a further one."""
        own = self.delays.pop((command.node, command.run, command.item), 0.0)
        return own or self.delays.get((command.node, command.run, None), 0.0)

    def route(self, node: str, run: int) -> str:
        """The route of a run."""
        return self.state.runs[node, run].route

    def label(self, node: str, run: int, item: int | None) -> str:
        """`task`, `task[item]`, `task@route`."""
        route = self.route(node, run)
        return node + ("" if item is None else f"[{item}]") + (f"@{route}" if route else "")

    # -- what goes on by itself --------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Go on until nothing can happen any more except through held actions and open inquiries."""
        while self.fire_timers() or self.end_free():
            pass
        self.check_fold()

    def fire_timers(self) -> bool:
        """Let the earliest delay be over; deadlines never come by themselves."""
        due = sorted(
            (at, timer)
            for timer, at in self.timers.items()
            if timer in self.state.timers and self.state.timers[timer].purpose in AT_ONCE
        )
        if not due:
            return False
        at, timer = due[0]
        del self.timers[timer]
        self.now = max(self.now, at)
        self.say(tell.TimerFired(now=self.now, id=timer))
        return True

    def end_free(self) -> bool:
        """End the actions whose turn it is."""
        free = [work for work in self.in_flight if work.task not in self.hold]
        for work in self.pick(free) if free else ():
            self.end(work)
        return bool(free)

    def end(self, work: InFlight) -> None:
        """End one action as its mock says."""
        self.in_flight.remove(work)
        command = work.command
        answer = self.mocks.next(command.node, self.route(command.node, command.run), command.item)
        if answer.status == "pending":
            raise HarnessError(f"{work.label} is no inquiry but its mock is pending")
        self.now += timedelta(seconds=1)
        if isinstance(command, do.StartChild):
            self.say(tell.ChildEnded(now=self.now, child_id=command.child_id, **ending(answer, command.node, 1)))
        else:
            self.say(
                tell.AttemptEnded(
                    now=self.now,
                    node=command.node,
                    run=command.run,
                    item=command.item,
                    attempt=command.attempt,
                    **ending(answer, command.node, command.attempt),
                )
            )

    def check_fold(self) -> None:
        """The state folded from the stored rows equals the live one."""
        folded = fold(self.graph, [json.loads(row) for row in self.rows])
        wrong = different(picture(self.state), picture(folded))
        if wrong:
            raise HarnessError("the folded state differs: " + "; ".join(wrong))

    # -- what the script asks for ------------------------------------------------------------------------------------

    def complete(self, argument: Any) -> None:
        """A held action ends."""
        wanted = argument if isinstance(argument, dict) else {"task": argument}
        for work in self.in_flight:
            command = work.command
            route = self.route(command.node, command.run)
            if (
                command.node == wanted["task"]
                and wanted.get("item") in (None, command.item)
                and wanted.get("route", route) == route
            ):
                return self.end(work)
        raise HarnessError(f"nothing in flight for complete {argument!r}")

    def respond(self, argument: Any) -> None:
        """An open inquiry is answered, or runs out of time; a paused workflow is resumed."""
        wanted = argument if isinstance(argument, dict) else {"task": argument}
        for inquiry in self.waiting:
            route = self.route(inquiry.node, inquiry.run)
            if inquiry.node == wanted["task"] and wanted.get("route", route) == route:
                break
        else:
            raise HarnessError(f"no open inquiry for respond {argument!r}")
        self.waiting.remove(inquiry)
        self.now += timedelta(seconds=1)
        answer = self.mocks.next(inquiry.node, route, inquiry.item)
        place = {"now": self.now, "node": inquiry.node, "run": inquiry.run, "item": inquiry.item}
        if answer.status == "succeeded":
            self.say(tell.InquiryAnswered(**place, response=answer.result["response"]))
        else:
            self.say(tell.InquiryExpired(**place))
        if self.state.phase is Phase.PAUSED:
            self.say(tell.ResumeRequested(now=self.now))

    def request(self, verb: str) -> None:
        """Pause, resume or cancel; a refusal is noted. In the format a workflow that has failed has ended."""
        kinds = {"pause": tell.PauseRequested, "resume": tell.ResumeRequested, "cancel": tell.CancelRequested}
        has_failed = self.state.phase is Phase.FAILING
        if has_failed or not self.say(kinds[verb](now=self.now)):
            self.refused.append(verb)

    def rerun(self, argument: Any) -> None:
        """Run the ended execution again: a new one that takes over what is not repeated."""
        start = [
            From(node=entry)
            if isinstance(entry, str)
            else From(**{"node" if k == "task" else k: v for k, v in entry.items()})
            for entry in (argument or {}).get("tasks") or ()
        ]
        planned = plan(self.state, self.graph, start, only=True)
        if isinstance(planned, Refused):
            self.refused.append("rerun")
        else:
            failed = {line["node"] for line in planned.again if line["status"] in ("failed", "timed_out")}
            self.repeated.append({entry.node for entry in start} or failed)
            self.begin(planned.reuse)


def answered(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the expression worker would answer, without its process."""
    try:
        return {"value": answer_request(request)}
    except Exception as error:  # whatever the template raises is the answer
        return {"error": str(error)}


def ending(answer: Answer, node: str, attempt: int) -> dict[str, Any]:
    """The fields of an ending."""
    failure = None
    if answer.status != "succeeded":
        message = f"mocked as {answer.status}"
        details = {"status": answer.status}
        failure = Failure(type=ERRORS[answer.status], message=message, details=details, node=node, attempt=attempt)
    return {"outcome": OUTCOMES[answer.status], "output": answer.result, "failure": failure}
