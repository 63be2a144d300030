"""z-score and EWMA: the documented formulas, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.insight.detectors.methods import METHODS, MIN_POINTS, judge
from services.insight.detectors.series import Series
from services.insight.detectors.textbook import ALPHA, LIMIT, Ewma, ZScore, ewmas, zscores

TEXTBOOK = {"zscore": (zscores, ZScore), "ewma": (ewmas, Ewma)}
numbers = st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=200).map(np.array)


def test_a_zscore_is_the_distance_from_the_mean_of_sixty_points_in_their_deviations():
    values = np.random.default_rng(1).normal(size=200)

    score, mean, spread = zscores(values)

    past = values[90:150]
    assert score[150] == pytest.approx(abs(values[150] - past.mean()) / past.std(ddof=1))
    assert (mean[150], spread[150]) == (pytest.approx(past.mean()), pytest.approx(past.std(ddof=1)))


def test_an_ewma_score_is_the_distance_from_the_weighted_mean_in_weighted_deviations():
    values = np.random.default_rng(1).normal(size=50)
    mean, variance = values[0], 0.0
    for value in values[1:-1]:
        distance = value - mean
        mean += ALPHA * distance
        variance = (1 - ALPHA) * (variance + ALPHA * distance**2)

    score, before, spread = ewmas(values)

    assert score[-1] == pytest.approx(abs(values[-1] - mean) / variance**0.5)
    assert (before[-1], spread[-1]) == (pytest.approx(mean), pytest.approx(variance**0.5))


@pytest.mark.parametrize("method", TEXTBOOK)
@settings(deadline=None, max_examples=40)
@given(values=numbers)
def test_the_stream_equals_the_batch(method, values):
    batch, stream = TEXTBOOK[method]
    one = stream()

    scores = [one.update(value) for value in values]

    assert np.allclose(scores, batch(values)[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", TEXTBOOK)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3))
def test_scale_and_shift_do_not_matter(method, seed, scale, shift):
    values = np.random.default_rng(seed).normal(size=150)

    plain, moved = TEXTBOOK[method][0](values)[0], TEXTBOOK[method][0]((values + shift) * scale)[0]

    assert np.allclose(plain, moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=30)
@given(points=st.lists(st.tuples(st.floats(0, 1e6), st.floats()), max_size=150))
def test_no_input_crashes_a_method_or_yields_a_score_that_is_no_number(method, points):
    one = Series.tidy([time for time, _ in points], [value for _, value in points])

    verdict = judge(method, [one])[0]

    assert len(verdict.score) == len(one)
    assert np.isfinite(verdict.score).all()
    assert (verdict.score >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_score_comes_from_fewer_points_than_stated(method):
    values = np.random.default_rng(1).normal(size=MIN_POINTS[method] - 1)

    verdict = judge(method, [Series.tidy(np.arange(len(values)) * 60.0, values)])[0]

    assert verdict.score.max(initial=0) == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_is_never_unusual(method):
    verdict = judge(method, [Series.tidy(np.arange(500) * 60.0, np.full(500, 0.1))])[0]

    assert verdict.score.max() == 0


@pytest.mark.parametrize("method", TEXTBOOK)
def test_a_change_after_a_constant_past_has_the_largest_score(method):
    values = np.append(np.full(80, 5.0), 6.0)

    assert TEXTBOOK[method][0](values)[0][-1] == LIMIT


def test_tidying_sorts_drops_what_is_no_number_and_keeps_the_last_of_equal_times():
    tidy = Series.tidy([3, 1, 2, 2, 4, np.nan], [30, 10, 20, 21, np.inf, 5])

    assert tidy.times.tolist() == [1, 2, 3]
    assert tidy.values.tolist() == [10, 21, 30]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_in_gives_nothing_out(method):
    assert judge(method, []) == []
    assert len(judge(method, [Series.tidy([], [])])[0].score) == 0
