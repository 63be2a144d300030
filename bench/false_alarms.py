"""How often does `auto` raise a false alarm on series in which nothing is wrong?

usage: python -m bench.false_alarms [series per kind]
Thirty days at one point a minute, eight kinds of healthy series. Prints alarms (incidents) per series in 30 days at
the scores 1, 2 and 3; the target is 10, 1 and 0.1. The constant `CALIBRATION` comes from here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from services.insight.detectors.auto import AutoBank
from services.insight.detectors.rows import F64

POINTS = 30 * 1440
LEVELS = (1.0, 2.0, 3.0)
CALM = 60
"""Points between two alarms that count as two."""


def healthy(rng: np.random.Generator, count: int) -> dict[str, F64]:
    """`count` healthy series of each kind, one row per series."""
    minute = np.arange(POINTS)
    shape = (count, POINTS)
    phase = rng.uniform(0, 1440, (count, 1))
    day = np.sin(2 * np.pi * (minute + phase) / 1440)
    week = np.where((minute // 1440) % 7 >= 5, 0.6, 1.0)
    noise = rng.normal(size=shape)
    slow = _autoregressive(rng.normal(size=shape), 0.95)
    return {
        "white noise": noise,
        "autocorrelated": _autoregressive(noise, 0.8),
        "daily season": 20 + 5 * day + noise,
        "weekly season": (20 + 8 * day) * week + noise,
        "counts": rng.poisson(3 + 2 * day).astype(float),
        "rare counts": rng.poisson(0.05, shape).astype(float),
        "heavy tail": rng.lognormal(0, 1, shape),
        "drifting": 50 + slow + 0.3 * noise,
    }


def _autoregressive(noise: F64, memory: float) -> F64:
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], [1.0, -memory], noise, axis=1))


def alarms(values: F64, *, progress: Callable[[int], None] | None = None) -> F64:
    """Incidents per series at each of `LEVELS`, as one row per level."""
    bank = AutoBank(len(values))
    found = np.zeros((len(LEVELS), len(values)))
    latest = np.full(found.shape, -CALM)
    for step in range(values.shape[1]):
        onset = bank.step(np.full(len(values), 1.7e9 + 60.0 * step), values[:, step]).onset
        for row, level in enumerate(LEVELS):
            over = onset >= level
            found[row] += over & (step - latest[row] >= CALM)
            latest[row, over] = step
        if progress and step % 10_000 == 0:
            progress(step)
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    kinds = healthy(np.random.default_rng(7), count)
    found = alarms(np.concatenate(list(kinds.values())))
    print(f"{'kind':16} " + " ".join(f"score≥{level:g}" for level in LEVELS))
    for row, kind in enumerate(kinds):
        mean = found[:, row * count : (row + 1) * count].mean(axis=1)
        print(f"{kind:16} " + " ".join(f"{value:7.2f}" for value in mean))
    print(f"{'all':16} " + " ".join(f"{value:7.2f}" for value in found.mean(axis=1)))


if __name__ == "__main__":
    main()
