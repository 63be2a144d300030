"""Carries out one attempt: finds the action, checks the input, calls it within its time, and answers with an Outcome."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from models.records import ErrorType
from services.actions.builtin import BUILTINS
from services.actions.catalogue import ActionSpec, Catalogue, Runner
from services.actions.outcome import ActionFailed, Call, Outcome

log = logging.getLogger("millrace.actions")

Perform = Callable[[Call], Any | Awaitable[Any]]
RunnerOf = Callable[[ActionSpec], Perform]


async def _nothing_new() -> None:
    """Where nobody else loads actions."""


class Runners:
    """The actions of this process, ready to be called. `builtins` maps an entry to its function.

    `scrub` takes out of a text what the log must not show.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        builtins: Mapping[str, Perform],
        others: Mapping[Runner, RunnerOf] | None = None,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self.catalogue = catalogue
        self._scrub = scrub
        self._builtins = dict(builtins)
        self._others = dict(others or {})
        self.refresh: Callable[[], Awaitable[object]] = _nothing_new
        """Learns of actions that another process has loaded."""

    def provide(self, entry: str, function: Perform) -> None:
        """Let builtin actions with this entry call `function`."""
        self._builtins[entry] = function

    def begin(self, call: Call) -> Outcome | Awaitable[Any]:
        """Call the action. What is finished at once comes back as an Outcome, the rest has to be awaited by `finish`."""
        spec = self.catalogue.get(call.ref)
        return self._late(call) if spec is None else self._begun(spec, call)

    async def _late(self, call: Call) -> Any:
        """An action that this process has not heard of: another one may have loaded it a moment ago."""
        await self.refresh()
        spec = self.catalogue.get(call.ref)
        if spec is None:
            raise ActionFailed(f"unknown action '{call.ref}'", kind=ErrorType.VALIDATION)
        begun = self._begun(spec, call)
        return begun if isinstance(begun, Outcome) else await self.finish(call, begun, timeout_s=None)

    def _begun(self, spec: ActionSpec, call: Call) -> Outcome | Awaitable[Any]:
        try:
            check_input(spec, call.input)
            if call.timeout_s is None and spec.runner is not Runner.BUILTIN:
                call.timeout_s = spec.timeout_s
            if spec.idempotency_per_attempt:
                call.key = f"{call.key}/{call.attempt}"
            result = self._function(spec)(call)
        except ActionFailed as failure:
            return failure.outcome(call.logs)
        except Exception as error:  # noqa: BLE001 - an action may raise anything; the worker loop must not
            return self._unexpected(call, error)
        if inspect.isawaitable(result):
            return result
        return Outcome(output=result, logs=tuple(call.logs))

    async def finish(self, call: Call, begun: Awaitable[Any], *, timeout_s: float | None) -> Outcome:
        """Wait for what `begin` started, at most `timeout_s` seconds, else what its declaration says."""
        limit_s = None if call.times_itself else call.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s) as limit:
                output = await begun
            return output if isinstance(output, Outcome) else Outcome(output=output, logs=tuple(call.logs))
        except ActionFailed as failure:
            return failure.outcome(call.logs)
        except TimeoutError as error:
            if not limit.expired():
                return self._unexpected(call, error)
            message = f"{call.ref} did not end within {limit_s:g} seconds"
            return ActionFailed(message, kind=ErrorType.TIMEOUT).outcome(call.logs)
        except Exception as error:  # noqa: BLE001 - as above
            return self._unexpected(call, error)

    def is_immediate(self, ref: str) -> bool:
        """Whether the action is a plain function that is over when it returns."""
        spec = self.catalogue.get(ref)
        return spec is not None and spec.runner is Runner.BUILTIN and str(spec.entry) in BUILTINS

    async def perform(self, call: Call, *, timeout_s: float | None = None) -> Outcome:
        """Carry out one attempt from beginning to end."""
        begun = self.begin(call)
        return begun if isinstance(begun, Outcome) else await self.finish(call, begun, timeout_s=timeout_s)

    def _unexpected(self, call: Call, error: Exception) -> Outcome:
        trace = self._scrub("".join(traceback.format_exception(error)))
        facts = (call.ref, call.execution_id, call.node, call.attempt, trace)
        log.error("action.failed ref=%s execution=%s node=%s attempt=%d traceback=%s", *facts)
        return ActionFailed(f"{type(error).__name__}: {error}").outcome(call.logs)

    def _function(self, spec: ActionSpec) -> Perform:
        if spec.runner is Runner.BUILTIN:
            function = self._builtins.get(str(spec.entry))
            if function is not None:
                return function
        elif (runner := self._others.get(spec.runner)) is not None:
            return runner(spec)
        raise ActionFailed(
            f"{spec.ref} needs the '{spec.runner}' runner, which is not available here", kind=ErrorType.VALIDATION
        )


def check_input(spec: ActionSpec, value: Any) -> None:
    """Raise ActionFailed naming every way in which the input does not fit the action's parameters."""
    errors = violations(spec.parameters, value)
    if errors:
        shown = "; ".join(_located(error) for error in errors[:5])
        raise ActionFailed(f"input of {spec.ref}: {shown}", kind=ErrorType.VALIDATION, details={"errors": errors})


def _located(error: Mapping[str, Any]) -> str:
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['message']}" if place else str(error["message"])


OPEN_SCHEMA_KEYS = frozenset({"type", "properties", "required", "additionalProperties"})


def violations(schema: Mapping[str, Any], value: Any) -> list[dict[str, Any]]:
    """Every violation of a JSON Schema: `{loc, message, type}`."""
    if type(value) is dict and _fits_trivially(schema, value):
        return []
    return [
        {"loc": list(error.absolute_path), "message": error.message, "type": str(error.validator)}
        for error in _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).iter_errors(value)
    ]


def _fits_trivially(schema: Mapping[str, Any], value: dict[str, Any]) -> bool:
    """Objects whose schema only asks for keys that are there; the common case costs no validator."""
    if not schema.keys() <= OPEN_SCHEMA_KEYS or schema.get("type") != "object":
        return False
    properties = schema.get("properties") or {}
    extra_allowed = schema.get("additionalProperties", True) is True
    if any(name not in value for name in schema.get("required") or ()):
        return False
    return all((not properties[name]) if name in properties else extra_allowed for name in value)


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(orjson.loads(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)
