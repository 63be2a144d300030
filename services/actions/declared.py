"""HTTP actions that a pack declares: a request template, and how the answer becomes the output.

    request:  {method, url, headers, params, json, body, form, expected_status}   templates over parameters, config, secrets
    response: {failed_when, error, output}                                      templates over status, headers, body

The secrets are those of the action's own pack: a workflow that calls the action needs no right to them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from models.records import ErrorType
from services.actions.catalogue import ActionSpec
from services.actions.http import HttpRunner
from services.actions.outcome import ActionFailed, Call
from services.actions.secrets import Secrets
from services.engine.expressions import Template, compile_template
from services.engine.expressions_errors import ExpressionError, NeedsWorker
from services.engine.expressions_scope import Scope
from services.engine.expressions_secrets import extract_secrets, insert_secrets

Config = Callable[[str], Awaitable[Mapping[str, Any]]]
REQUEST_KEYS = frozenset(
    [
        "method",
        "url",
        "headers",
        "params",
        "json",
        "body",
        "form",
        "expected_status",
        "follow_redirects",
        "timeout_seconds",
    ]
)
RESPONSE_KEYS = frozenset({"failed_when", "error", "output"})


@dataclass(frozen=True, slots=True)
class _Declared:
    spec: ActionSpec
    request: Template
    failed_when: Template | None
    error: Template | None
    output: Template | None
    defaults: Mapping[str, Any]


class DeclaredHttp:
    """Carries out declared HTTP actions: a `RunnerOf` for `Runner.HTTP`. `config` gives the settings of a pack."""

    def __init__(self, http: HttpRunner, *, secrets: Secrets, config: Config) -> None:
        self._http = http
        self._secrets = secrets
        self._config = config
        self._compiled: dict[str, _Declared] = {}

    def __call__(self, spec: ActionSpec) -> Callable[[Call], Awaitable[Any]]:
        """The function that carries this action out. Raises ActionFailed when its templates cannot be compiled."""
        known = self._compiled.get(spec.ref)
        if known is None or known.spec is not spec:
            known = self._compiled[spec.ref] = _compile(spec)
        declared = known
        return lambda call: self._perform(declared, call)

    async def _perform(self, declared: _Declared, call: Call) -> Any:
        spec = declared.spec
        parameters = {**declared.defaults, **(call.input or {})}
        names = {"parameters": parameters, "config": await self._config(spec.pack_ref)}
        masked, places = extract_secrets(_evaluated(declared.request, names, spec.ref))
        request = insert_secrets(masked, places, lambda name: self._secrets.reveal(name, pack=spec.pack_ref))
        given = {key: _given(value) for key, value in request.items() if value is not None}
        answer = await self._http.perform(replace(call, input=given, logs=call.logs))
        return _output(declared, answer)


def _given(value: Any) -> Any:
    """An object without the entries for which the caller gave nothing."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


def _compile(spec: ActionSpec) -> _Declared:
    request, response = dict(spec.entry or {}), dict(spec.response or {})
    strange = sorted((request.keys() - REQUEST_KEYS) | (response.keys() - RESPONSE_KEYS))
    if strange:
        raise ActionFailed(f"{spec.ref} declares unknown keys: {', '.join(strange)}", kind=ErrorType.VALIDATION)
    properties = spec.parameters.get("properties") or {}
    return _Declared(
        spec=spec,
        request=_template(request, spec.ref, secrets=True),
        failed_when=_optional(response, "failed_when", spec.ref),
        error=_optional(response, "error", spec.ref),
        output=_optional(response, "output", spec.ref),
        defaults={name: rule.get("default") for name, rule in properties.items() if isinstance(rule, Mapping)},
    )


def _optional(response: Mapping[str, Any], key: str, ref: str) -> Template | None:
    return _template(response[key], ref) if key in response else None


def _template(value: Any, ref: str, *, secrets: bool = False) -> Template:
    try:
        return compile_template(value, secrets=secrets)
    except ExpressionError as error:
        raise ActionFailed(f"{ref} is declared wrongly: {error}", kind=ErrorType.VALIDATION) from error


def _evaluated(template: Template, names: Mapping[str, Any], ref: str) -> Any:
    try:
        return template.evaluate(Scope(names))
    except NeedsWorker as error:
        message = f"{ref} is declared with an expression that a declaration may not use"
        raise ActionFailed(message, kind=ErrorType.VALIDATION) from error
    except ExpressionError as error:
        raise ActionFailed(f"{ref}: {error}", kind=ErrorType.VALIDATION) from error


def _output(declared: _Declared, answer: dict[str, Any]) -> Any:
    """The output of an answer; raises ActionFailed when the declaration says that the answer is a failure."""
    ref = declared.spec.ref
    if declared.failed_when is not None and _evaluated(declared.failed_when, answer, ref):
        said = None if declared.error is None else _evaluated(declared.error, answer, ref)
        message = f"{ref}: {said}" if said else f"{ref}: the answer says that it failed"
        raise ActionFailed(message, kind=ErrorType.API_ERROR, details={"status": answer["status"]}, output=answer)
    return answer if declared.output is None else _evaluated(declared.output, answer, ref)
