"""The inside of the worker process: sandboxed Jinja under hard limits of memory, time and rights.

One JSON request a line on stdin, one JSON answer a line on stdout: `{"value": ...}` or `{"error": "..."}`.
`ends: true` in an answer says that the process ends after it. Nothing here is imported by the server itself.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, BinaryIO

import orjson
from jinja2 import StrictUndefined, Undefined, pass_context
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_filters import FILTERS, PURE_FUNCTIONS, joined, texted
from services.engine.expressions_jinja import SCOPE_FUNCTIONS, WORKER_FILTERS
from services.engine.expressions_operators import BINARY
from services.engine.expressions_predicates import TESTS
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import is_list, is_mapping, plain, text_function

READY = b'{"ready":true}\n'
CPU_SECONDS = 2
MAX_LINE = 24 * 1024 * 1024

_FORBIDDEN = (
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "open",
    "import",
    "pty.",
    "signal.",
    "sys.settrace",
)
_SAMPLE = {"whole": False, "text": "json", "names": {"y": [1]}, "calls": []}
_JINJA_NAMED = ("map", "select", "reject", "selectattr", "rejectattr")


class Unbounded(Scope):
    """A scope without a limit of steps: the process has one."""

    __slots__ = ()

    def charge(self, units: int) -> None:
        """Count nothing."""


class Missing(StrictUndefined):
    """A name without a value: it may be reached into (for `default`), but not used."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, name: Any) -> Any:
        return self


class Environment(ImmutableSandboxedEnvironment):
    """Jinja with our operators, our filters, and keys before attributes."""

    intercepted_binops = frozenset(BINARY)

    def call_binop(self, _context: Context, operator: str, left: Any, right: Any) -> Any:
        """The same operators as in the server: they do not grow without bound."""
        return BINARY[operator](_SCOPE, _used(left), _used(right))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`d.items` is the key of that name, if there is one."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


_SCOPE = Unbounded({})


def serve(source: BinaryIO, target: BinaryIO, *, memory_bytes: int) -> None:
    """Answer requests until the input ends."""
    _warm_up()
    _limit(memory_bytes)
    target.write(READY)
    target.flush()
    for line in iter(lambda: source.readline(MAX_LINE), b""):
        _allow_cpu()
        answer = _answer(line)
        target.write(_encoded(answer) + b"\n")
        target.flush()
        if "ends" in answer:
            return


def answer_request(request: Mapping[str, Any]) -> Any:
    """The value of one request; any exception is its failure."""
    text_of = text_function(request["text"])
    calls = {(name, repr(args)): outcome for name, args, outcome in request["calls"]}
    names = {**_functions(calls), **request["names"]}
    if request["whole"]:
        found = _expression(request["source"], request["text"])(**names)
        return plain(_settled(found))
    template = _environment(request["text"]).from_string(request["source"])
    return plain(text_of(template.render(**names)))


def _answer(line: bytes) -> dict[str, Any]:
    try:
        return {"value": answer_request(orjson.loads(line))}
    except MemoryError:
        return {"error": "the expression needs too much memory", "ends": True}
    except RecursionError:
        return {"error": "the expression is nested too deeply"}
    except (ExpressionError, SecurityError, UndefinedError) as error:
        return {"error": str(error.message or error)}
    except Exception as error:  # noqa: BLE001 - whatever foreign code raises is the answer to its request
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def _encoded(answer: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(answer)
    except (TypeError, ValueError) as error:
        return orjson.dumps({"error": f"the value cannot be written as JSON: {error}"})


def _warm_up() -> None:
    """Import and build all that is needed, before importing is forbidden."""
    for name in (*WORKER_FILTERS, *FILTERS):
        _answer(orjson.dumps({**_SAMPLE, "source": "{{ 'a' | " + name + " }}"}))
    _answer(orjson.dumps({**_SAMPLE, "source": "{{ 'a' | regex_search('a') }}{{ x.y }}"}))
    _answer(orjson.dumps({**_SAMPLE, "source": "{{ x.y }}", "whole": True}))
    _answer(orjson.dumps({**_SAMPLE, "source": "{% for x in y %}{{ x }}{% endfor %}", "text": "python"}))
    _answer(orjson.dumps({**_SAMPLE, "source": "{% bad %}"}))


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_refuse)


def _refuse(event: str, _arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN):
        raise SecurityError(f"{event} is not available to an expression")


def _allow_cpu() -> None:
    """A little CPU time for each request, so that a process whose server died does not go on for ever."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + CPU_SECONDS, hard))


@lru_cache(maxsize=2)
def _environment(style: Any) -> Environment:
    text_of = text_function(style)
    environment = Environment(
        undefined=Missing,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=lambda value: text_of(_settled(value)),
        cache_size=256,
    )
    own = {**FILTERS, "join": joined(text_of), "string": texted(text_of), "str": texted(text_of)}
    environment.globals = {name: _ours(operation) for name, operation in {**own, **PURE_FUNCTIONS}.items()}
    environment.filters = {
        **{name: JINJA_FILTERS[name] for name in (*WORKER_FILTERS, "default", "d")},
        **{name: _ours(operation) for name, operation in own.items()},
        **{name: _listing(JINJA_FILTERS[name]) for name in _JINJA_NAMED},
    }
    environment.tests = {
        **{name: JINJA_TESTS[name] for name in ("defined", "undefined")},
        **{name: _ours(operation) for name, operation in TESTS.items()},
    }
    return environment


@lru_cache(maxsize=256)
def _expression(source: str, style: str) -> Callable[..., Any]:
    inner = source.strip()[2:-2]
    inner = inner[inner.startswith(("-", "+")) :]
    inner = inner[: len(inner) - inner.endswith(("-", "+"))]
    compiled: Callable[..., Any] = _bare(style).compile_expression(inner.strip(), undefined_to_none=False)
    return compiled


@lru_cache(maxsize=2)
def _bare(style: Any) -> Environment:
    """The environment for whole values: nothing is turned into text."""
    return _environment(style).overlay(finalize=None)


def _ours(operation: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        return operation(_SCOPE, *map(_used, args), **{key: _used(value) for key, value in named.items()})

    return call


def _listing(generate: Callable[..., Any]) -> Callable[..., Any]:
    @pass_context
    def call(context: Context, value: Any, *args: Any, **named: Any) -> list[Any]:
        return list(generate(context, _used(value), *args, **named))

    return call


def _used(value: Any) -> Any:
    """A value that is about to be used: it has to exist, and lists are lists."""
    if isinstance(value, Undefined):
        return str(value)  # raises UndefinedError, naming it
    return list(value) if isinstance(value, Iterator) else value


def _settled(value: Any) -> Any:
    """The value as plain data, with nothing undefined and no text that is more than text."""
    value = _used(value)
    if isinstance(value, str):
        return "".join([value])
    if is_mapping(value):
        return {_settled(key): _settled(item) for key, item in value.items()}
    return [_settled(item) for item in value] if is_list(value) else value


def _functions(calls: dict[tuple[str, str], Any]) -> dict[str, Callable[..., Any]]:
    return {name: _answered(name, calls) for name in SCOPE_FUNCTIONS}


def _answered(name: str, calls: dict[tuple[str, str], Any]) -> Callable[..., Any]:
    """A function of the server's scope: its values came with the request."""

    def call(*args: Any) -> Any:
        outcome = calls.get((name, repr(list(args))))
        whole = calls.get((name, "[]"))
        if outcome is None and whole is not None and len(args) == 1 and "value" in whole:
            outcome = {"value": whole["value"].get(args[0], Missing(name=f"{name}({args[0]!r})"))}
        if outcome is None:
            raise ExpressionError(f"{name}() cannot be used here")
        if "error" in outcome:
            raise ExpressionError(str(outcome["error"]))
        return outcome["value"]

    return call
