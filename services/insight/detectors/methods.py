"""The methods by name, each judging whole series at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from services.insight.detectors import auto, textbook
from services.insight.detectors.auto import AutoBank
from services.insight.detectors.rows import F64
from services.insight.detectors.series import Judgement, Series

Textbook = Callable[[F64], tuple[F64, F64, F64]]
TEXTBOOK: dict[str, Textbook] = {"zscore": textbook.zscores, "ewma": textbook.ewmas}
METHODS = ("auto", *TEXTBOOK)
MIN_POINTS = {"auto": auto.MIN_POINTS, "zscore": textbook.MIN_POINTS, "ewma": textbook.MIN_POINTS}


def judge(method: str, series: Sequence[Series]) -> list[Judgement]:
    """Judge every point of every series by `method`; KeyError for an unknown one."""
    if method == "auto":
        return judge_auto(AutoBank(len(series)), series)
    return [_judge_textbook(TEXTBOOK[method], one) for one in series]


def _judge_textbook(score: Textbook, series: Series) -> Judgement:
    scores, expected, spread = score(series.values)
    nothing = np.full(len(series), np.nan)
    return Judgement(scores, scores, expected, spread, nothing, textbook.MIN_POINTS)


def judge_auto(bank: AutoBank, series: Sequence[Series]) -> list[Judgement]:
    """Feed each row of `bank` its series, all series side by side; the bank has learned them afterwards."""
    order = np.argsort([-len(one) for one in series], kind="stable")
    lengths = np.array([len(series[i]) for i in order], dtype=np.int64)
    longest = int(lengths[0]) if len(lengths) else 0
    out = {field: np.full((len(series), longest), np.nan) for field in _FIELDS}
    times, values = np.zeros((len(series), longest)), np.zeros((len(series), longest))
    for row, i in enumerate(order):
        times[row, : len(series[i])], values[row, : len(series[i])] = series[i].times, series[i].values
    sorted_bank = bank.pick(order)
    for step in range(longest):
        alive = int(np.searchsorted(-lengths, -step, side="left"))
        verdicts = sorted_bank.head(alive).step(times[:alive, step], values[:alive, step])
        for field in _FIELDS:
            out[field][:alive, step] = getattr(verdicts, field)
    bank.put(order, sorted_bank)
    place = np.argsort(order)
    return [
        Judgement(min_points=auto.MIN_POINTS, **{field: out[field][place[i], : len(one)] for field in _FIELDS})
        for i, one in enumerate(series)
    ]


_FIELDS = ("score", "onset", "expected", "spread", "reason")
