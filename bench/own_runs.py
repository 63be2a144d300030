"""Faults injected into simulated own runs: how fast they are found, and how often healthy workflows raise a signal.

usage: python -m bench.own_runs [healthy workflows] [trials per fault]

Workflows have rates from 8 to 20 runs a minute (or are scheduled every 5 minutes to once a day), log-normal durations
with a daily swing, three nodes, failures from 0.5 to 3 %. Fourteen simulated days; the newest 3,000 runs (or 28 days)
are judged every five minutes, as the server does. A trial is found when the right kind of signal comes within
30 minutes of runs after the fault (a scheduled run: after the run that did not come).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np

from services.insight.detectors.own_runs import Runs, unusual

DAYS = 14
KEPT = 3_000
TURN_S = 300.0
START = 1_767_225_600.0  # a Thursday, 2026-01-01


@dataclass(frozen=True)
class Plan:
    rate_per_min: float
    period_s: float | None
    failure: float
    medians: tuple[float, ...]
    spreads: tuple[float, ...]


def plan(rng: np.random.Generator, *, scheduled: bool) -> Plan:
    return Plan(
        rate_per_min=float(rng.uniform(8, 20)),
        period_s=float(rng.choice([300, 900, 3600, 21_600, 86_400])) if scheduled else None,
        failure=float(rng.uniform(0.005, 0.03)),
        medians=tuple(np.exp(rng.normal(-1, 1, 3))),
        spreads=tuple(rng.uniform(0.1, 0.5, 3)),
    )


def simulate(rng: np.random.Generator, of: Plan, days: float = DAYS) -> Runs:
    if of.period_s is None:
        count = int(days * 1440 * of.rate_per_min)
        started = START + np.sort(rng.uniform(0, days * 86_400, count))
    else:
        started = START + np.arange(int(days * 86_400 / of.period_s)) * of.period_s
        started = started + rng.exponential(min(of.period_s * 0.01, 20), len(started))
    swing = 0.1 * np.sin(2 * np.pi * started / 86_400)
    nodes = {
        f"n{i}": np.exp(np.log(m) + swing + s * rng.normal(size=len(started)))
        for i, (m, s) in enumerate(zip(of.medians, of.spreads, strict=True))
    }
    return Runs(
        ids=range(len(started)),  # type: ignore[arg-type]
        started=started,
        duration=sum(nodes.values()),  # type: ignore[arg-type]
        failed=rng.uniform(size=len(started)) < of.failure,
        retried=rng.uniform(size=len(started)) < 0.02,
        wait=0.01 * np.exp(0.4 * rng.normal(size=len(started))),
        error=[""] * len(started),
        nodes=nodes,
    )


def seen(runs: Runs, now: float) -> Runs:
    """What the server would look at: the newest runs that have started."""
    end = int(np.searchsorted(runs.started, now))
    part = slice(max(0, end - KEPT), end)
    return Runs(
        ids=[str(i) for i in runs.ids[part]],
        started=runs.started[part],
        duration=runs.duration[part],
        failed=runs.failed[part],
        retried=runs.retried[part],
        wait=runs.wait[part],
        error=runs.error[part],
        nodes={name: seconds[part] for name, seconds in runs.nodes.items()},
    )


def false_signals(rng: np.random.Generator, of: Plan, every_s: float) -> dict[str, int]:
    """Signals of a healthy workflow; one that goes on is counted once."""
    runs, counts, last = simulate(rng, of), {}, {}
    for now in np.arange(START + 86_400, START + DAYS * 86_400, every_s):
        for one in unusual(seen(runs, float(now)), now=float(now)):
            key = f"{one.kind}:{one.node}"
            if one.score >= 2 and now - last.get(key, -1e18) > 3600:
                counts[one.kind] = counts.get(one.kind, 0) + 1
            if one.score >= 2:
                last[key] = now
    return counts


def slow_node(rng, of):
    runs = simulate(rng, of, 2)
    at = START + 1.5 * 86_400
    late = runs.started >= at
    nodes = {**runs.nodes, "n1": np.where(late, 2 * runs.nodes["n1"], runs.nodes["n1"])}
    return replace(runs, nodes=nodes, duration=sum(nodes.values())), at, {"node_duration", "duration"}


def failing(rng, of):
    of = replace(of, failure=0.02)
    runs = simulate(rng, of, 2)
    at = START + 1.5 * 86_400
    late = runs.started >= at
    return replace(runs, failed=np.where(late, rng.uniform(size=len(late)) < 0.1, runs.failed)), at, {"failure_rate"}


def stopped(rng, of):
    runs = simulate(rng, of)
    cut = int(len(runs.started) * rng.uniform(0.75, 1.0))
    stop = seen(runs, float(runs.started[cut - 1]) + 1e-3)
    return stop, float(stop.started[-1]) + (of.period_s or 60.0), {"missing_run"}


def found(runs: Runs, at: float, kinds: set[str]) -> float | None:
    """Minutes until found, None when not within 30."""
    for minutes in range(1, 31):
        now = at + 60.0 * minutes
        if any(one.kind in kinds and one.score >= 2 for one in unusual(seen(runs, now), now=now)):
            return minutes
    return None


def main() -> None:
    healthy = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    rng = np.random.default_rng(11)
    for name, fault, scheduled in (
        ("a node twice as slow", slow_node, False),
        ("failures from 2 % to 10 %", failing, False),
        ("a scheduled run that stops", stopped, True),
    ):
        results = [found(*fault(rng, plan(rng, scheduled=scheduled))) for _ in range(trials)]
        hits = [minutes for minutes in results if minutes is not None]
        median = f", median {np.median(hits):.0f} min" if hits else ""
        print(f"{name:28} found {len(hits)} of {trials} ({len(hits) / trials:.0%}){median}", flush=True)
    total: dict[str, int] = {}
    for n in range(healthy):
        for kind, count in false_signals(rng, plan(rng, scheduled=n % 4 == 3), 1800.0).items():
            total[kind] = total.get(kind, 0) + count
    months = healthy * (DAYS - 1) / 30
    print(f"false signals per healthy workflow in 30 days: {sum(total.values()) / months:.2f} {total}")


if __name__ == "__main__":
    main()
