"""Stream every detector over labelled series in the format of the Numenta Anomaly Benchmark.

usage: python -m bench.nab [--data DIR] [--windows FILE] [--out DIR] [--scorer FILE]

Writes OUT/<detector>/<category>/<name>.csv with the column anomaly_score, one row per data row, then scores the
results. A detector is given times and values only, one row after the other; nothing else about a file reaches it.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np

from services.insight.detectors.methods import METHODS, judge
from services.insight.detectors.series import Series

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
PROFILES = ("standard", "low_FP", "low_FN")
PUBLISHED = {  # the same 29 series and scorer; data/nab/README.md of the shared material
    "ARTime": (70.0, 59.3, 76.5),
    "Numenta HTM": (67.8, 62.3, 72.0),
    "CAD OSE": (67.2, 64.1, 71.0),
    "KNN CAD": (58.2, 42.4, 65.6),
    "relative entropy": (53.8, 44.9, 59.1),
    "Skyline (earthgecko)": (50.3, 40.9, 55.0),
    "random cut forest": (50.1, 41.0, 56.6),
    "Twitter ADVec": (45.6, 32.0, 52.4),
    "windowed Gaussian": (35.1, 19.6, 42.8),
}


def read(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["timestamp"] for row in rows], np.array([float(row["value"]) for row in rows])


def seconds(stamps: Sequence[str]) -> np.ndarray:
    return np.array([datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() for stamp in stamps])


def stream(method: str, inputs: Sequence[tuple[list[str], np.ndarray]]) -> list[np.ndarray]:
    """One score per data row; rows a detector does not see (repeated times, not a number) score 0."""
    series = [Series.tidy(seconds(stamps), values) for stamps, values in inputs]
    scores = []
    for (stamps, _), one, verdict in zip(inputs, series, judge(method, series), strict=True):
        row = np.zeros(len(stamps))
        times = seconds(stamps)
        last = {time: at for at, time in enumerate(times)}
        row[[last[time] for time in one.times]] = verdict.onset
        scores.append(row)
    return scores


def write(path: Path, stamps: Sequence[str], values: np.ndarray, scores: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("timestamp", "value", "anomaly_score"))
        out.writerows(zip(stamps, values.tolist(), np.round(scores, 6).tolist(), strict=True))


def scorer(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("nab_score", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"no scorer at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data/nab/data")
    parser.add_argument("--windows", type=Path, default=SHARED / "data/nab/windows.json")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scorer", type=Path, default=SHARED / "tools/nab_score.py")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if not options.windows.exists():
        raise SystemExit(
            f"no labelled data at {options.windows}: give --data and --windows (make nab DATA=… WINDOWS=…)"
        )
    out = options.out or Path(tempfile.mkdtemp(prefix="nab-"))
    windows = json.loads(options.windows.read_text())
    names = [name for name in windows if (options.data / name).exists()]
    only = {name: windows[name] for name in names}
    inputs = [read(options.data / name) for name in names]
    score = scorer(options.scorer)
    print(f"{len(names)} of {len(windows)} labelled series, results in {out}\n")
    print(f"{'detector':22} standard  low FP  low FN  threshold")
    for method in METHODS:
        for name, (stamps, values), scores in zip(names, inputs, stream(method, inputs), strict=True):
            write(out / method / name, stamps, values, scores)
        files = score.load(out / method, options.data, only, None)
        results = [score.best_score(files, profile) for profile in PROFILES]
        print(f"{method:22} " + "  ".join(f"{value:6.2f}" for value, _ in results) + f"  {results[0][1]:9.3f}")
    if len(names) == 29:
        for name, published in PUBLISHED.items():
            print(f"{name:22} " + "  ".join(f"{value:6.1f}" for value in published))


if __name__ == "__main__":
    main()
