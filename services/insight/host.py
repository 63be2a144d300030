"""This host, sampled for real: share of CPU time used, share of memory in use."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path

EVERY_S = 5.0
KEPT = 17_280
"""Samples kept: a day."""
METRICS = ("cpu_usage", "memory_usage")


class HostSampler:
    """A ring of samples in about 400 kB. Where the system does not say (no /proc), there are none."""

    def __init__(self, clock: Callable[[], float], proc: Path = Path("/proc")) -> None:
        """`clock`: seconds since 1970."""
        self._clock, self._proc = clock, proc
        self._times = array("d")
        self._samples = {name: array("d") for name in METRICS}
        self._before = (0.0, 0.0)
        self._next = 0

    async def sample(self) -> None:
        """Take one sample now."""
        cpu, memory = self._cpu(), self._memory()
        if cpu is None or memory is None:
            return
        if len(self._times) < KEPT:
            self._times.append(0.0)
            for ring in self._samples.values():
                ring.append(0.0)
        at = self._next % KEPT
        self._times[at] = self._clock()
        self._samples["cpu_usage"][at], self._samples["memory_usage"][at] = cpu, memory
        self._next += 1

    def read(self, metric: str, *, start: float, end: float, step_s: int) -> tuple[list[float], list[float]]:
        """Means over steps that end within (start, end], as times and values."""
        sums: dict[int, tuple[float, int]] = {}
        for time, value in zip(self._times, self._samples[metric], strict=True):
            if start < time <= end:
                place = int((time - start) // step_s)
                total, count = sums.get(place, (0.0, 0))
                sums[place] = total + value, count + 1
        places = sorted(sums)
        return [start + (place + 1) * step_s for place in places], [sums[p][0] / sums[p][1] for p in places]

    def _cpu(self) -> float | None:
        """Share of CPU time used since the last sample."""
        try:
            fields = [float(text) for text in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):
            return _load()
        total, idle = sum(fields), fields[3] + fields[4]
        (total_before, idle_before), self._before = self._before, (total, idle)
        if total <= total_before or not total_before:
            return _load()
        return min(max(1 - (idle - idle_before) / (total - total_before), 0.0), 1.0)

    def _memory(self) -> float | None:
        try:
            lines = dict(line.split(":", 1) for line in (self._proc / "meminfo").read_text().splitlines())
            total, free = (float(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        except (OSError, ValueError, KeyError):
            return None
        return 1 - free / total


def _load() -> float | None:
    try:
        return min(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
    except OSError:
        return None
