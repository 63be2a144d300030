"""One JSON line per figure, the same for every workload.

`ratio` is against `ceiling`, measured in the same run on the same machine; `bar` is what the ratio (or, without a
ceiling, the value) has to reach; `ok` says whether it does. The reported value is the median of `runs`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one workload measured: medians of a few runs."""

    workload: str
    unit: str
    runs: Sequence[float]
    ceilings: Sequence[float] = ()  # one per run, taken in turns with it; empty when there is none
    bar: float | None = None
    smaller_is_better: bool = False

    @property
    def value(self) -> float:
        """The median run."""
        return statistics.median(self.runs)

    @property
    def ratio(self) -> float | None:
        """The median of the runs' own ratios: what is slow for one run is slow for its ceiling, too."""
        if not self.ceilings:
            return None
        return statistics.median(run / ceiling for run, ceiling in zip(self.runs, self.ceilings, strict=True))

    @property
    def ok(self) -> bool | None:
        """Whether the bar is reached; None without a bar."""
        if self.bar is None:
            return None
        reached = self.value if self.ratio is None else self.ratio
        return reached <= self.bar if self.smaller_is_better else reached >= self.bar

    def line(self) -> str:
        """The JSON line."""
        ratio, ceiling = self.ratio, statistics.median(self.ceilings) if self.ceilings else None
        return json.dumps(
            {
                "workload": self.workload,
                "value": _short(self.value),
                "unit": self.unit,
                "ceiling": _short(ceiling),
                "ratio": _short(ratio),
                "bar": self.bar,
                "ok": self.ok,
                "runs": [_short(run) for run in self.runs],
            }
        )


REPORTED: list[dict[str, Any]] = []
"""What this process has reported so far."""


def report(figure: Figure) -> bool:
    """Print a figure; whether it reaches its bar, True when it has none."""
    line = figure.line()
    REPORTED.append(json.loads(line))
    print(line, flush=True)
    return figure.ok is not False


def _short(number: float | None) -> float | None:
    """Four significant digits."""
    return None if number is None else float(f"{number:.4g}")
