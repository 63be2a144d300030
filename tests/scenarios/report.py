"""The outcome of many scenarios as a table, a line for each failure and a total."""

from collections.abc import Iterable, Sequence

from tests.scenarios.compare import LEVELS
from tests.scenarios.runner import Result

WIDTH = 400


def table(results: Sequence[Result]) -> Iterable[str]:
    """A row for each category: scenarios, and how many pass each level in every order."""
    categories = sorted({result.scenario.category for result in results})
    width = max(map(len, [*categories, "category"]))
    yield f"{'category':<{width}} scenarios" + "".join(f"  level {level}" for level in LEVELS)
    for category in [*categories, "all"]:
        rows = [result for result in results if category in ("all", result.scenario.category)]
        cells = "".join(f"{sum(result.passed(level) for result in rows):>9}" for level in LEVELS)
        yield f"{category:<{width}} {len(rows):>9}{cells}"


def failures(results: Iterable[Result], *, optional: bool = False) -> Iterable[str]:
    """A line for each failure: scenario, orders, level, field, expected and got. Level 4 only when asked for."""
    for result in results:
        lines: dict[str, list[str]] = {}
        for failure in result.failures:
            found = failure.difference
            if found.level < 4 or optional:
                line = f"level {found.level} {found.field}: expected {found.expected!r}, got {found.got!r}"
                lines.setdefault(line[:WIDTH], []).append(failure.order)
        for line, orders in lines.items():
            yield f"FAIL {result.scenario.id} [{', '.join(orders)}] {line}"


def total(results: Sequence[Result]) -> str:
    """`passed/all`, the last line of a report."""
    return f"{sum(result.conforms for result in results)}/{len(results)}"
