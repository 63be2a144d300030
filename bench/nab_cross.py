"""Leave one category out: would other settings of `auto`, chosen without a category, do as well on it?

usage: python -m bench.nab_cross [--data DIR] [--windows FILE] [--scorer FILE]

Every setting of a neighbourhood (the main constants varied one by one, each view left out) is scored. For every category the
setting and the threshold that are best on all *other* categories are applied to it; the sum is the honest score.
"""
# ruff: noqa: SLF001 - varies constants that are nobody else's business

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from bench import nab
from services.insight.detectors import auto, incident, level, ranks, season

NEIGHBOURS: tuple[tuple[ModuleType, str, tuple[object, ...]], ...] = (
    (level, "LEVEL_MEMORY", (200.0,)),
    (level, "SLOW", (120.0,)),
    (season, "DAY_RATE", (0.05,)),
    (season, "_SPREAD_FLOOR", (1.0,)),
    (ranks, "STEEPER", (2.0,)),
    (ranks, "PATIENCE", (0,)),
    (incident, "WORSE", (0.3,)),
    (incident, "HOLD", (0.5,)),
    (auto, "_MAX_SHARE", (0.7,)),
    *((auto, f"view {n}", (False,)) for n in range(len(auto.VIEWS))),
)


@contextmanager
def setting(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def settings() -> Iterator[tuple[str, ModuleType | None, str, object]]:
    yield "as it is", None, "", None
    for module, name, values in NEIGHBOURS:
        for value in values:
            if name.startswith("view "):
                yield f"without {auto.VIEWS[int(name[5:])]}", auto, "view", int(name[5:])
            else:
                yield f"{name.strip('_')} {value}", module, name, value


def windows_of(files: list[tuple[object, object, list[object]]]) -> int:
    return sum(len(windows) for *_, windows in files)


def raw(score: ModuleType, files: list[object], threshold: float) -> float:
    """Points (of 2 per window) that a threshold earns on some files; false alarms cost even without windows."""
    total = 0.0
    for stamps, scores, windows in files:
        s, w, k = score.file_points(stamps, scores, windows, 1.0, 0.11)
        hit = s >= threshold
        total += float(w[hit & (k < 0)].sum())
        for one in np.unique(k[k >= 0]):
            inside = hit & (k == one)
            total += float(w[inside].max()) + 1 if inside.any() else 0.0
    return total


def main() -> None:
    options = nab.arguments()
    windows = json.loads(options.windows.read_text())
    inputs = [nab.read(options.data / name) for name in windows]
    score = nab.scorer(options.scorer)
    categories = [name.split("/")[0] for name in windows]
    labels = [[(a.split(".")[0], b.split(".")[0]) for a, b in spans] for spans in windows.values()]
    total = 2 * sum(len(spans) for spans in labels)
    results = {}
    for title, module, name, value in settings():
        if module is None:
            scores = nab.stream("auto", inputs)
        elif name == "view":
            changed = auto._MATURE.copy()
            changed[value] = 2**40
            with setting(auto, "_MATURE", changed):
                scores = nab.stream("auto", inputs)
        else:
            with setting(module, name, value):
                scores = nab.stream("auto", inputs)
        files = [(stamps, one, spans) for (stamps, _), one, spans in zip(inputs, scores, labels, strict=True)]
        results[title] = files
        print(f"{title:28} {score.best_score(files, 'standard')[0]:6.2f}", flush=True)
    for chosen_from, some in (("threshold", ["as it is"]), ("setting and threshold", list(results))):
        earned = 0.0
        for category in sorted(set(categories)):
            best, best_title, best_cut = -1e9, "", 0.0
            for title in some:
                others = [f for f, c in zip(results[title], categories, strict=True) if c != category]
                value, cut = score.best_score(others, "standard")
                if value > best:
                    best, best_title, best_cut = value, title, cut
            held_out = [f for f, c in zip(results[best_title], categories, strict=True) if c == category]
            earned += raw(score, held_out, best_cut)
            print(
                f"  {category:24} {best_title:28} earned {raw(score, held_out, best_cut):6.2f} of {2 * windows_of(held_out)}"
            )
        print(f"leave one category out, {chosen_from} chosen on the others: {100 * earned / total:.2f}\n")


if __name__ == "__main__":
    main()
