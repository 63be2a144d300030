"""The helper's side of own-run insights: runs as arrays, findings with the version they began with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from services.history.node_facts import NodeFacts, error_class, of_events, of_logs
from services.insight.detectors.own_runs import MIN_RUNS, Runs, Unusual, expect_by, unusual
from services.insight.jobs import OwnFinding, OwnJob, OwnRun

_FAILED = frozenset({"failed", "interrupted"})


def own_runs(jobs: Sequence[OwnJob], now: float) -> list[tuple[list[OwnFinding], float | None]]:
    """For every workflow: what is unusual, and until when no run need come."""
    return [_judged(job, now) for job in jobs]


def _judged(job: OwnJob, now: float) -> tuple[list[OwnFinding], float | None]:
    if not job.runs:
        return [], None
    runs = _arrays(job.runs)
    findings = [OwnFinding(**asdict(one), version=_version(job.runs, one)) for one in unusual(runs, now=now)]
    return findings, expect_by(runs)


def _arrays(runs: Sequence[OwnRun]) -> Runs:
    facts = [of_events(run.events) if run.events else of_logs(run.node_logs) for run in runs]
    seen = [node for one in facts for node in one.seconds]
    common = [node for node in dict.fromkeys(seen) if seen.count(node) >= MIN_RUNS]
    return Runs(
        ids=[run.run_id for run in runs],
        started=np.array([run.started for run in runs]),
        duration=np.array([np.nan if run.duration_ms is None else run.duration_ms / 1000 for run in runs]),
        failed=np.array([run.status in _FAILED for run in runs]),
        retried=np.array([one.retried for one in facts]),
        wait=np.array([one.wait for one in facts]),
        error=[error_class(run.error) if run.status in _FAILED else "" for run in runs],
        nodes={node: _seconds(facts, node) for node in common},
    )


def _seconds(facts: Sequence[NodeFacts], node: str) -> np.ndarray:
    return np.array([one.seconds.get(node, np.nan) for one in facts])


def _version(runs: Sequence[OwnRun], one: Unusual) -> str | None:
    """The version of the first run of the change, when the runs before had another."""
    after = [run.version for run in runs if run.started >= one.since]
    before = [run.version for run in runs if run.started < one.since]
    if not after or not before or after[0] is None:
        return None
    # evidence may begin to gather a few runs before or after the version did
    near = {*before[-3:], *after[:3]}
    newest = after[min(2, len(after) - 1)]
    return newest if len(near) > 1 and newest not in before[:-3] else None
