"""Regular expressions in linear time: the RE2 engine, so no pattern can keep the server busy.

RE2 knows neither lookaround nor back references; a pattern that needs them is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import bounded_text, kind_of

MAX_PATTERN = 1_000


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Any:
    """The compiled pattern; raises ExpressionError when it is not a pattern."""
    import re2

    if len(pattern) > MAX_PATTERN:
        raise ExpressionError(f"a pattern has at most {MAX_PATTERN:,} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args else "it cannot be read"
        raise ExpressionError(f"not a pattern: {reason}") from error


def regex_search(scope: Scope, text: Any, pattern: Any) -> bool:
    """Does the pattern match somewhere in the text?"""
    return _prepared(scope, text, pattern).search(text) is not None


def regex_match(scope: Scope, text: Any, pattern: Any) -> bool:
    """Does the pattern match from the start of the text?"""
    return _prepared(scope, text, pattern).match(text) is not None


def regex_replace(scope: Scope, text: Any, pattern: Any, replacement: Any = "") -> str:
    """The text with every match replaced."""
    compiled = _prepared(scope, text, pattern)
    if not isinstance(replacement, str):
        raise ExpressionError(f"a replacement is text, not {kind_of(replacement)}")
    parts: list[str] = []
    end = 0
    for match in compiled.finditer(text):
        scope.charge(8 + len(replacement) // 100)
        parts += (text[end : match.start()], replacement)
        end = match.end()
    return bounded_text("".join([*parts, text[end:]]))


def regex_findall(scope: Scope, text: Any, pattern: Any) -> list[Any]:
    """All matches; with groups in the pattern, the groups of each."""
    found: list[Any] = []
    for match in _prepared(scope, text, pattern).finditer(text):
        scope.charge(8)
        groups = match.groups("")
        found.append(match.group(0) if not groups else groups[0] if len(groups) == 1 else list(groups))
    return found


def regex_substring(scope: Scope, text: Any, pattern: Any, index: Any = 0) -> Any:
    """The match with that index; an error when there is none."""
    found: list[str] = []
    for match in _prepared(scope, text, pattern).finditer(text):
        scope.charge(8)
        found.append(match.group(0))
    if not isinstance(index, int) or not -len(found) <= index < len(found):
        raise ExpressionError(f"the pattern has no match number {index}")
    return found[index]


def _prepared(scope: Scope, text: Any, pattern: Any) -> Any:
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise ExpressionError(f"a pattern is matched against text, not {kind_of(text)} and {kind_of(pattern)}")
    scope.charge(len(text) // 20 + len(pattern))
    return compile_pattern(pattern)
