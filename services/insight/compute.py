"""The jobs of the helper process. Only that process imports this module, because it loads numpy and scipy."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from services.errors import BadRequest
from services.insight.detectors import hints
from services.insight.detectors.auto import AutoBank
from services.insight.detectors.hints import Finding
from services.insight.detectors.methods import MIN_POINTS, judge, judge_auto
from services.insight.detectors.series import Judgement, Series
from services.insight.jobs import Judged, WatchJob
from services.insight.own_judging import own_runs
from services.insight.sources import MAX_SERIES, Fetched, series_key

__all__ = ["own_runs", "probe", "watch"]
SHOWN = 240
"""Points kept with a signal: the window it was judged on."""
CALM = 10
"""Points below the threshold after which a watch's incident is over."""
_INCIDENT = struct.Struct("<?Hd")


def probe(method: str, fetched: Fetched) -> list[Judged]:
    """Judge the last point of every series."""
    found = _series(fetched)
    verdicts = judge(method, [one for _, _, one in found])
    return [
        _judged(method, name, one, verdict, len(one) - 1)
        for (*name, one), verdict in zip(found, verdicts, strict=True)
        if len(one)
    ]


def watch(jobs: Sequence[WatchJob]) -> list[list[Judged] | str]:
    """Judge what is new in every series of every watch, side by side; an error is a text in its place."""
    found: list[list[tuple[str, Mapping[str, str], Series]] | str] = []
    for job in jobs:
        try:
            found.append(_series(job.fetched))
        except BadRequest as error:
            found.append(error.message)
    banks = _auto(jobs, found)
    return [
        one if isinstance(one, str) else [_watched(job, name, series, banks) for *name, series in one]
        for job, one in zip(jobs, found, strict=True)
    ]


def _series(fetched: Fetched) -> list[tuple[str, Mapping[str, str], Series]]:
    if fetched.prometheus is None:
        return [(raw.metric, raw.labels, Series.tidy(raw.times, raw.values)) for raw in fetched.series]
    try:
        result = orjson.loads(fetched.prometheus)["data"]["result"]
        if len(result) > MAX_SERIES:
            raise BadRequest(f"The query finds {len(result):,} series; at most {MAX_SERIES:,} are possible")
        return [_prometheus_series(item) for item in result]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise BadRequest("Prometheus answered something that is no range of values") from None


def _prometheus_series(item: Any) -> tuple[str, Mapping[str, str], Series]:
    labels = dict(item["metric"])
    points = np.array([(time, float(value)) for time, value in item["values"]], dtype=np.float64).reshape(-1, 2)
    return labels.pop("__name__", ""), labels, Series.tidy(points[:, 0], points[:, 1])


def _judged(method: str, name: Sequence[Any], one: Series, verdict: Judgement, at: int) -> Judged:
    metric, labels = name
    enough = len(one) >= MIN_POINTS[method]
    hint = _hint(method, one, verdict, at) if enough else hints.too_few_hint(len(one), MIN_POINTS[method])
    start = max(0, at + 1 - SHOWN)
    window = np.stack([one.times[start : at + 1], one.values[start : at + 1]], axis=1).tolist()
    return Judged(
        key=series_key(metric, labels),
        metric=metric,
        labels=labels,
        time=float(one.times[at]),
        value=float(one.values[at]),
        score=round(float(verdict.score[at]), 4),
        hint=hint,
        points=len(one),
        window=window,
    )


def _hint(method: str, one: Series, verdict: Judgement, at: int) -> str:
    interval = float(np.median(np.diff(one.times[max(0, at - 200) : at + 1]))) if at else 60.0
    finding = Finding(
        time=float(one.times[at]),
        value=float(one.values[at]),
        score=float(verdict.score[at]),
        expected=float(verdict.expected[at]),
        spread=float(verdict.spread[at]),
        reason=int(verdict.reason[at]) if method == "auto" else hints.NOTHING,
        interval_s=interval,
    )
    return hints.auto_hint(finding) if method == "auto" else hints.textbook_hint(finding, method)


# ---- watches: state by series ------------------------------------------------------------------------------------------

Verdicts = dict[tuple[int, str], tuple[Judgement, bytes]]


def _auto(jobs: Sequence[WatchJob], found: Sequence[Any]) -> Verdicts:
    """All series of all `auto` watches in one bank, each going on from what its watch remembers."""
    wanted = [
        (job, series_key(metric, labels), series)
        for job, one in zip(jobs, found, strict=True)
        if job.method == "auto" and not isinstance(one, str)
        for metric, labels, series in one
    ]
    bank = AutoBank(len(wanted))
    for row, (job, key, _) in enumerate(wanted):
        remembered = job.states.get(key, b"")[_INCIDENT.size :]
        if remembered:
            _restore(bank, row, remembered)
    verdicts = judge_auto(bank, [series for _, _, series in wanted])
    return {
        (id(job), key): (verdict, bank.pack(row))
        for row, ((job, key, _), verdict) in enumerate(zip(wanted, verdicts, strict=True))
    }


def _restore(bank: AutoBank, row: int, remembered: bytes) -> None:
    try:
        bank.unpack(row, remembered)
    except ValueError:
        return  # written by another version: the series is learned anew


def _watched(job: WatchJob, name: Sequence[Any], one: Series, banks: Verdicts) -> Judged:
    metric, labels = name
    key = series_key(metric, labels)
    if job.method == "auto":
        verdict, learned = banks[id(job), key]
    else:
        verdict, learned = judge(job.method, [one])[0], b""
    before = job.states.get(key, b"")
    is_open, calm, until = _INCIDENT.unpack(before[: _INCIDENT.size]) if before else (False, 0, -np.inf)
    new = np.nonzero(one.times > until)[0]
    bar = job.threshold + job.bars.get(key, 0.0)
    opens, at = False, (len(one) - 1)
    for index in new:
        over = verdict.score[index] >= bar
        opens, at = (True, int(index)) if over and not is_open else (opens, at)
        calm = 0 if over else calm + 1
        is_open = over or (is_open and calm < CALM)
    last = float(one.times[-1]) if len(one) else until
    state = _INCIDENT.pack(bool(is_open), min(calm, 65_535), max(last, until)) + learned
    if not len(one):
        return Judged(key, metric, labels, until, 0.0, 0.0, "no points", 0, [], state)
    return replace(_judged(job.method, name, one, verdict, at), state=state, opens=opens)
