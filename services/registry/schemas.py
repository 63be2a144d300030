"""JSON Schemas of parameters, outputs and pack settings: checked when they are registered, compiled once, bounded.

Schemas follow draft 2020-12. Patterns run in linear time (RE2) and references stay inside the schema, so that no
schema can keep the server busy or make it call out. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_regex import compile_pattern
from services.registry.findings import Findings, Loc

MAX_VIOLATIONS = 100


def as_schema(schema: Any) -> Any:
    """A schema as draft 2020-12 has it.

    The short form of earlier services, a map of parameter names (`{channel: {type: string, required: true}}`), is
    turned into an object schema; everything else is returned as it is.
    """
    if not _is_short(schema):
        return schema
    required = [name for name, rule in schema.items() if rule.get("required") is True]
    properties = {
        name: {key: value for key, value in rule.items() if key not in ("required", "secret", "position", "immutable")}
        for name, rule in schema.items()
    }
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _is_short(schema: Any) -> bool:
    if not isinstance(schema, dict) or not schema or any(key.startswith("$") for key in schema):
        return False
    if isinstance(schema.get("type"), (str, list)) or isinstance(schema.get("properties"), dict):
        return False
    return all(isinstance(rule, dict) and "type" in rule for rule in schema.values())


def check_schema(schema: Any, loc: Loc, findings: Findings) -> None:
    """Note everything that makes `schema` unusable."""
    if schema is None:
        return
    if not isinstance(schema, (dict, bool)):
        findings.add(loc, "must be a JSON Schema: an object", kind="schema_invalid")
        return
    whole = as_schema(schema)
    meta = _validator_class()(_validator_class().META_SCHEMA, registry=_registry())
    for error in islice(meta.iter_errors(whole), MAX_VIOLATIONS):
        findings.add((*loc, *error.absolute_path), f"not a valid JSON Schema: {error.message}", kind="schema_invalid")
    for place, message in _hazards(whole, ()):
        findings.add((*loc, *place), message, kind="schema_invalid")


def _hazards(schema: Any, place: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from _hazards(item, (*place, number))
    elif isinstance(schema, dict):
        yield from _own_hazards(schema, place)
        for key, value in schema.items():
            if key not in ("enum", "const", "default", "examples"):
                yield from _hazards(value, (*place, key))


def _own_hazards(schema: dict[str, Any], place: Loc) -> Iterator[tuple[Loc, str]]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        yield (*place, "$ref"), "a reference must stay inside the schema (#/…)"
    several = schema.get("patternProperties")
    patterns = list(several) if isinstance(several, dict) else []
    for pattern in (schema.get("pattern"), *patterns):
        problem = _pattern_problem(pattern)
        if problem:
            yield (*place, "pattern"), problem
    if patterns and "unevaluatedProperties" in schema:
        yield (*place, "unevaluatedProperties"), "cannot stand beside patternProperties"


def _pattern_problem(pattern: Any) -> str | None:
    if not isinstance(pattern, str):
        return None
    try:
        compile_pattern(pattern)
    except ExpressionError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class Checker:
    """A compiled schema: fills defaults in and lists every violation."""

    schema: Any
    validator: Any

    def filled(self, value: Any) -> Any:
        """`value` with the defaults of absent properties; `value` itself is left alone."""
        return _filled(self.schema, value)

    def violations(self, value: Any, loc: Loc) -> list[dict[str, Any]]:
        """Everything in `value` that the schema forbids, each with its place below `loc`."""
        found = Findings()
        try:
            for error in islice(self.validator.iter_errors(value), MAX_VIOLATIONS):
                found.add((*loc, *error.absolute_path), error.message, kind=f"schema_{error.validator}")
        except RecursionError:
            found.add(loc, "the schema refers to itself without end", kind="schema_recursion")
        return sorted(found.errors, key=lambda error: [str(part) for part in error["loc"]])


def compile_schema(schema: Any) -> Checker | None:
    """The checker of a schema that `check_schema` accepted; None when there is no schema."""
    if schema is None or schema == {}:
        return None
    whole = as_schema(schema)
    return Checker(whole, _validator_class()(whole, registry=_registry()))


def _filled(schema: Any, value: Any) -> Any:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not isinstance(value, dict):
        return value
    result = dict(value)
    for name, rule in properties.items():
        if name in result:
            result[name] = _filled(rule, result[name])
        elif isinstance(rule, dict) and "default" in rule:
            result[name] = rule["default"]
    return result


@lru_cache(maxsize=1)
def _registry() -> Any:
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # the package carries no types

    return REGISTRY  # the published meta-schemas and nothing else: an unknown reference is an error, never a download


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    in_linear_time = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    return extend(  # type: ignore[no-untyped-call]  # jsonschema leaves this one function untyped
        Draft202012Validator, in_linear_time
    )


def _pattern(validator: Any, pattern: str, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    del schema
    if validator.is_type(instance, "string") and compile_pattern(pattern).search(instance) is None:
        yield ValidationError(f"{instance[:100]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, rules: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    del schema
    if not validator.is_type(instance, "object"):
        return
    for pattern, rule in rules.items():
        compiled = compile_pattern(pattern)
        for name, value in instance.items():
            if compiled.search(name) is not None:
                yield from validator.descend(value, rule, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    patterns = [compile_pattern(pattern) for pattern in schema.get("patternProperties", ())]
    known = schema.get("properties", {})
    extra = [name for name in instance if name not in known and not any(p.search(name) for p in patterns)]
    for name in extra:
        if rule is False:
            yield ValidationError(f"unexpected property {name!r}", path=[name])
        elif rule is not True:
            yield from validator.descend(instance[name], rule, path=name)
