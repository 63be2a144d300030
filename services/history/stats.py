"""What the daily aggregates say of a workflow: counts, success rate, percentiles, day by day. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from models.records import RunStatus
from models.run_stats import Day
from services.history import histogram

ENDED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


def summary(days: Iterable[Day]) -> dict[str, Any]:
    """`{runs, by_status, success_rate, duration_ms: {p50, p95, p99, average}, days: [...]}` of the given days.

    The success rate is completed / (completed + failed), None without either; durations are of ended runs and exact
    to 2.5 %.
    """
    days = list(days)
    per_day: dict[str, list[Day]] = defaultdict(list)
    for day in days:
        per_day[day.day].append(day)
    return {**_figures(days), "days": [{"day": name, **_figures(per_day[name])} for name in sorted(per_day)]}


def _figures(days: list[Day]) -> dict[str, Any]:
    counts: dict[str, int] = defaultdict(int)
    for day in days:
        counts[day.status] += day.runs
    decided = counts[RunStatus.COMPLETED] + counts[RunStatus.FAILED]
    ended = [day for day in days if day.status in ENDED]
    durations = histogram.merged(*(day.durations for day in ended))
    timed = sum(durations.values())
    return {
        "runs": sum(counts.values()),
        "by_status": {status: count for status, count in sorted(counts.items()) if count},
        "success_rate": round(counts[RunStatus.COMPLETED] / decided, 4) if decided else None,
        "duration_ms": {
            "p50": histogram.percentile(durations, 0.50),
            "p95": histogram.percentile(durations, 0.95),
            "p99": histogram.percentile(durations, 0.99),
            "average": round(sum(day.duration_ms_sum for day in ended) / timed) if timed else None,
        },
    }
