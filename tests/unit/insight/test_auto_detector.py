"""`auto`: what it finds, what leaves it calm, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.insight.detectors.auto import MIN_POINTS, AutoBank
from services.insight.detectors.methods import judge
from services.insight.detectors.series import Series

MINUTE = 60.0
START = 1_700_000_000.0


def series(values, step=MINUTE):
    return Series.tidy(START + step * np.arange(len(values)), values)


def score_of(values, step=MINUTE):
    return judge("auto", [series(values, step)])[0]


def noise(count, seed=1):
    return 100 + np.random.default_rng(seed).normal(size=count)


def daily(days, seed=1, per_day=288):
    at = np.arange(days * per_day)
    return 50 + 20 * np.sin(2 * np.pi * at / per_day) + np.random.default_rng(seed).normal(size=len(at))


def test_a_spike_is_found_where_it_is():
    values = noise(1500)
    values[1400] += 12

    verdict = score_of(values)

    assert verdict.onset[1400] >= 2
    assert verdict.onset[:1400].max() < 2


def test_a_change_of_level_is_found_and_reported_once():
    values = noise(2000)
    values[1500:] += 6

    verdict = score_of(values)

    assert verdict.onset[1500:1510].max() >= 2
    assert np.count_nonzero(verdict.onset[1530:] >= 2) == 0


def test_a_change_of_variance_is_found():
    values = noise(3000)
    values[2500:] = 100 + 5 * (values[2500:] - 100)

    assert score_of(values).onset[2500:2540].max() >= 2


def test_a_slow_trend_is_found():
    values = noise(4000)
    values[3000:] += 0.05 * np.arange(1000)

    assert score_of(values).onset[3000:].max() >= 2


def test_the_missing_peak_of_a_day_is_found_though_its_values_are_common():
    values = daily(12)
    peak = slice(11 * 288 + 40, 11 * 288 + 104)
    values[peak] = 50 + (values[peak] - values[peak].mean())

    verdict = score_of(values, step=300.0)

    assert verdict.onset[11 * 288 + 40 : 11 * 288 + 104].max() >= 2


def test_a_series_that_stands_still_is_found():
    values = noise(1500)
    values[1000:] = values[1000]

    verdict = score_of(values)

    assert verdict.onset[1000:1120].max() >= 2
    assert -1 in verdict.reason[1000:1120]


def test_a_gap_in_the_data_is_found_by_the_first_point_after_it():
    times = START + MINUTE * np.arange(1000)
    times[700:] += 3 * 3600

    verdict = judge("auto", [Series.tidy(times, noise(1000))])[0]

    assert verdict.onset[700] >= 2
    assert verdict.reason[700] == -2


@pytest.mark.parametrize("values", [noise(3000), daily(10), np.full(3000, 7.0), np.round(noise(3000))], ids=range(4))
def test_a_healthy_series_stays_calm(values):
    assert np.count_nonzero(score_of(values).onset >= 2.5) == 0


def test_exact_repetition_does_not_make_rounding_into_news():
    at = np.arange(20 * 288)

    verdict = score_of(1e6 + np.sin(2 * np.pi * at / 288), step=300.0)

    assert verdict.onset[5 * 288 :].max() < 2


def test_no_score_comes_from_fewer_points_than_stated():
    values = noise(MIN_POINTS)
    values[-2] = 1e6

    verdict = score_of(values)

    assert verdict.score[: MIN_POINTS - 1].max() == 0


def test_the_first_judged_point_can_already_be_alarming():
    values = noise(60)
    values[-1] += 60

    assert score_of(values).score[-1] >= 2


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3))
def test_scale_and_shift_do_not_matter(seed, scale, shift):
    values = noise(400, seed)
    values[350:] += 4

    plain, moved = score_of(values), score_of((values + shift) * scale)

    assert np.abs(plain.score - moved.score).max() < 0.02


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_the_stream_of_one_series_equals_the_batch_of_many(seed):
    rng = np.random.default_rng(seed)
    many = [series(rng.normal(size=rng.integers(1, 200)).cumsum()) for _ in range(5)]
    bank = AutoBank(1)

    batch = judge("auto", many)[2]
    stream = [bank.step(many[2].times[i : i + 1], many[2].values[i : i + 1]) for i in range(len(many[2]))]

    assert np.abs(batch.score - np.array([v.score[0] for v in stream])).max() < 1e-9
    assert np.abs(batch.onset - np.array([v.onset[0] for v in stream])).max() < 1e-9


def test_a_bank_goes_on_from_packed_state_as_if_nothing_had_happened():
    values = daily(4)
    whole, first, second = AutoBank(2), AutoBank(2), AutoBank(2)
    both = np.stack([values, values[::-1]], axis=1)
    for at in range(1000):
        whole.step(np.full(2, START + 300 * at), both[at])
        first.step(np.full(2, START + 300 * at), both[at])

    for row in range(2):
        second.unpack(row, first.pack(row))

    for at in range(1000, 1100):
        times = np.full(2, START + 300 * at)
        assert np.array_equal(whole.step(times, both[at]).score, second.step(times, both[at]).score)


def test_state_of_another_format_is_refused():
    with pytest.raises(ValueError, match="another format"):
        AutoBank(1).unpack(0, b"A0" + bytes(AutoBank.row_bytes()))


def test_a_series_takes_less_than_two_kilobytes():
    assert AutoBank.row_bytes() <= 2000
    assert len(AutoBank(1).pack(0)) <= 2002


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e200])
def test_a_value_that_is_no_number_is_skipped_and_harms_nobody(odd):
    bank, clean = AutoBank(2), AutoBank(1)
    rng = np.random.default_rng(3)
    for at in range(120):
        pair = rng.normal(size=2)
        times = np.full(2, START + MINUTE * at)
        expected = clean.step(times[:1], pair[:1]).score[0]
        verdict = bank.step(times, np.array([pair[0], odd if at % 2 else pair[1]]))
        assert verdict.score[0] == pytest.approx(expected)
        assert np.isfinite(verdict.score).all()


def test_a_point_that_is_not_newer_is_ignored():
    bank = AutoBank(1)
    for at in range(80):
        bank.step(np.array([START + at]), np.array([float(at % 7)]))
    before = bank.pack(0)

    bank.step(np.array([START]), np.array([1e9]))

    assert bank.pack(0) == before
