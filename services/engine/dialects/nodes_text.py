"""What node graphs write, as expressions of ours: `{{name}}` in texts, rules, transforms.

Everything becomes Jinja text, so that a compiled node graph can be read, explained and exported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.engine.expressions_rules import OPERATORS

_PLACE = re.compile(r"\{\{([^{}]+)\}\}")
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
_JQ = re.compile(r"\.(?:[A-Za-z_]\w*(?:\[\d+\])*(?:\.[A-Za-z_]\w*(?:\[\d+\])*)*)?")
_FORBIDDEN = re.compile(
    r"__import__|\beval\(|\bexec\(|\bcompile\(|os\.system|subprocess\.|\bopen\(|\binput\(|globals\(\)|locals\(\)"
    r"|\bvars\(|__code__|__dict__|__builtins__|__class__|__subclasses__"
)


def literal(value: Any) -> str:
    """The value as it stands in an expression."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(str(key))}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"
    return repr(value)


def lookup(name: str) -> str:
    """The variable of that name: `variables.count`, `variables['my-list']`, `variables.user.name`."""
    name = name.strip()
    if _PATH.fullmatch(name):
        return "variables." + ".".join(name.split("."))
    return f"variables[{literal(name)}]"


def read(name: str, default: str = "none") -> str:
    """The variable, or the default where it has no value."""
    return f"({lookup(name)} | default({default}))"


def as_value(name: str, default: str = "none") -> str:
    """A text that is exactly the value of a variable."""
    return "{{ " + f"{lookup(name)} | default({default})" + " }}"


def text(source: Any) -> Any:
    """A value of the definition with its `{{name}}` places turned into lookups; a name without value is empty."""
    if isinstance(source, str):
        return _PLACE.sub(lambda match: _place(match[1].strip()), source) if "{{" in source else _quoted(source)
    if isinstance(source, Mapping):
        return {key: text(item) for key, item in source.items()}
    if isinstance(source, list):
        return [text(item) for item in source]
    return source


def as_text(source: Any) -> Any:
    """Like `text`, but always text: headers, URLs and messages keep no types."""
    if isinstance(source, Mapping):
        return {key: as_text(item) for key, item in source.items()}
    match = _PLACE.fullmatch(source) if isinstance(source, str) else None
    if match is None or match[1].strip().startswith("secrets."):
        return text(source)
    return "{{ " + read(match[1], "''") + " | string }}"


def _place(name: str) -> str:
    return "{{ " + name + " }}" if name.startswith("secrets.") else as_value(name, "''")


def _quoted(source: str) -> str:
    """Statements are no part of this language: a text with `{%` means just that."""
    return "{{ " + literal(source) + " }}" if "{%" in source else source


def forbidden(source: Any) -> str | None:
    """The first part of a text that looks like an attempt to run code."""
    match = _FORBIDDEN.search(source) if isinstance(source, str) else None
    return match[0] if match else None


def condition(rules: Any) -> str:
    """The expression of a list of rules, all of which must hold. Raises ValueError or TypeError for what is no rule."""
    parts = [_rule(rule) for rule in ([rules] if isinstance(rules, Mapping) else rules or ())]
    return " and ".join(parts) if parts else "true"


def _rule(rule: Any, item: str | None = None) -> str:
    if not isinstance(rule, Mapping):
        raise TypeError("a rule is a map of variable, operator and value")
    operator = rule.get("operator")
    if operator in {"and", "or", "not"}:
        return _nested(operator, rule.get("value"), item)
    variable = rule.get("variable")
    if not isinstance(variable, str) or not variable.strip():
        raise ValueError("the variable of a condition is empty")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise ValueError(f"there is no operator {operator!r}")
    return f"{_subject(variable.strip(), item)} is holds({literal(operator)}, {operand(rule.get('value'))})"


def _nested(operator: str, rules: Any, item: str | None) -> str:
    parts = [f"({_rule(rule, item)})" for rule in (rules if isinstance(rules, list) else [rules])]
    if operator == "not":
        return f"not ({' and '.join(parts)})"
    return "(" + f" {operator} ".join(parts) + ")"


def _subject(variable: str, item: str | None) -> str:
    if item is None or not (variable == item or variable.startswith(f"{item}.")):
        return read(variable)
    rest = variable[len(item) + 1 :]
    return f"(item.{rest} | default(none))" if rest else "item"


def operand(value: Any) -> str:
    """The right side of a rule; `{{name}}` stands for a variable there too."""
    match = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return read(match[1]) if match else literal(value)


def filtered(source: str, rules: Iterable[Any]) -> str:
    """The expression of a list of which only the elements are kept that satisfy every rule on `item`."""
    chain, outer = lookup(source), []
    for rule in rules:
        variable = str(rule.get("variable", "")).strip() if isinstance(rule, Mapping) else ""
        if variable != "item" and not variable.startswith("item."):
            outer.append(_rule(rule))
            continue
        _rule(rule, "item")
        arguments = f"'holds', {literal(rule['operator'])}, {operand(rule.get('value'))}"
        rest = variable.removeprefix("item").removeprefix(".")
        chain += f" | selectattr({literal(rest)}, {arguments})" if rest else f" | select({arguments})"
    return f"({chain}) if ({' and '.join(outer)}) else []" if outer else f"{chain} | list"


def transform(expression: str, language: str) -> str:
    """The expression of a transform. Raises ValueError for what has no counterpart."""
    if language != "jq":
        return expression.strip().removeprefix("{{").removesuffix("}}").strip()
    source = expression.strip()
    if source == ".":
        return "vars"
    if not _JQ.fullmatch(source):
        raise ValueError("of jq only paths are available: .name, .user.name, .rows[0].id")
    return "variables" + source


def connection_condition(source: Any) -> str:
    """The expression of a connection's `conditional`: an expression, with or without braces, or rules.

    A name without value makes it false.
    """
    if isinstance(source, Mapping | list):
        return condition(source)
    inner = str(source).strip()
    match = _PLACE.fullmatch(inner)
    return f"({match[1].strip() if match else inner}) | default(false)"
