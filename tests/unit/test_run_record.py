from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.records import RunStatus
from services.errors import Invalid
from services.history import histogram
from services.history.record import RANK, Run, Stored, is_newer, merge, parse_run, text_of

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def report(**fields):
    return {"wpk_id": "w-1.0.0", "run_id": "r1", "status": "completed", **fields}


def stored(**fields) -> Stored:
    plain = {"status": "running", "reported_status": None, "duration_ms": None, "created_at": T0, "error": None}
    return Stored(**{**plain, **fields})


def test_a_full_report_is_read():
    run = parse_run(report(inputs={"a": 1}, outputs={"text": "ok"}, duration_ms=12.6, node_logs=[1], community_id=3))

    assert (run.duration_ms, run.inputs, run.outputs, run.node_logs, run.community_id) == (
        13,
        {"a": 1},
        {"text": "ok"},
        [1],
        3,
    )


def test_every_missing_field_is_named_at_once():
    with pytest.raises(Invalid, match="Missing required field: wpk_id; Missing required field: run_id") as caught:
        parse_run({"status": "completed"})

    assert [problem["loc"] for problem in caught.value.details["errors"]] == [["wpk_id"], ["run_id"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "done"},
        {"duration_ms": -1},
        {"duration_ms": float("nan")},
        {"duration_ms": 1e300},
        {"wpk_id": ""},
        {"run_id": "x" * 513},
        {"node_logs": {}},
        {"created_at": "yesterday"},
        {"community_id": 0},
        {"error": 5},
    ],
)
def test_a_wrong_field_is_refused_with_its_place(wrong):
    with pytest.raises(Invalid) as caught:
        parse_run(report(**wrong), where=(4,))

    assert caught.value.details["errors"][0]["loc"][:2] == [4, next(iter(wrong))]


def test_what_is_no_object_is_refused():
    with pytest.raises(Invalid):
        parse_run([])


def test_unknown_fields_are_ignored():
    assert parse_run(report(colour="red")).run_id == "r1"


@pytest.mark.parametrize(
    ("word", "ours", "kept"),
    [
        ("success", RunStatus.COMPLETED, "success"),
        ("succeeded", RunStatus.COMPLETED, "succeeded"),
        ("error", RunStatus.FAILED, "error"),
        ("timeout", RunStatus.FAILED, "timeout"),
        ("completed", RunStatus.COMPLETED, None),
        ("interrupted", RunStatus.INTERRUPTED, None),
    ],
)
def test_other_runners_words_become_ours_and_are_kept(word, ours, kept):
    run = parse_run(report(status=word))

    assert (run.canonical, run.reported_status) == (ours, kept)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2024-01-15T10:05:00Z", datetime(2024, 1, 15, 10, 5, tzinfo=UTC)),
        ("2024-01-15T10:05:00", datetime(2024, 1, 15, 10, 5, tzinfo=UTC)),
        ("2024-01-15", datetime(2024, 1, 15, tzinfo=UTC)),
        ("2024-01-15t10:05:00.123456789z", datetime(2024, 1, 15, 10, 5, 0, 123456, tzinfo=UTC)),
        ("2024-01-15T12:05:00+02:00", datetime(2024, 1, 15, 10, 5, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(text, meant):
    assert parse_run(report(created_at=text)).created_at == meant


@pytest.mark.parametrize("word", ["4102444800", "0001-01-01T00:00:00+14:00", "2024-13-01T00:00:00Z", "now", ""])
def test_what_is_no_time_is_refused_with_what_is_wanted(word):
    with pytest.raises(Invalid, match="created_at: must be a time such as 2026-01-17T12:00:00Z"):
        parse_run(report(created_at=word))


@pytest.mark.parametrize(
    "wrong", [{"duration_ms": "5"}, {"duration_ms": True}, {"community_id": "3"}, {"created_at": 4102444800}]
)
def test_nothing_is_made_into_a_number_or_a_time(wrong):
    with pytest.raises(Invalid) as refused:
        parse_run(report(**wrong))

    assert [error["loc"] for error in refused.value.details["errors"]] == [[*wrong]]


def test_a_finished_report_ends_a_running_run():
    after = merge(stored(), parse_run(report(status="timeout", duration_ms=5, error="too slow")))

    assert (after.status, after.reported_status, after.duration_ms, after.error) == ("failed", "timeout", 5, "too slow")


def test_a_late_running_report_changes_nothing():
    finished = stored(status="completed", duration_ms=9)

    assert merge(finished, parse_run(report(status="running", duration_ms=1))) == finished


def test_what_is_not_reported_again_stays():
    after = merge(stored(duration_ms=7, error="e"), parse_run(report(status="failed")))

    assert (after.duration_ms, after.error) == (7, "e")


def test_success_clears_an_earlier_error():
    assert merge(stored(status="interrupted", error="waits"), parse_run(report())).error is None


@given(st.lists(st.sampled_from(list(RunStatus)), min_size=1))
def test_the_status_never_goes_backward(reports):
    ranks = []
    state = stored()
    for status in reports:
        state = merge(state, Run(wpk_id="w", run_id="r", status=status.value))
        ranks.append(RANK[state.status])

    assert ranks == sorted(ranks)


def test_among_equal_times_the_later_arrival_is_the_latest():
    assert is_newer(T0, T0)
    assert is_newer(T0, None)
    assert not is_newer(T0, T0 + timedelta(seconds=1))
    assert is_newer(T0.astimezone(timezone(timedelta(hours=5))), T0)


@pytest.mark.parametrize(
    ("outputs", "error", "text"),
    [
        ({"text": "hello", "n": 1}, None, "hello"),
        ({"n": 1}, "boom", '{"n":1}\nboom'),
        ("plain", None, "plain"),
        (None, None, ""),
        ({}, "boom", "boom"),
        ({"text": 5}, None, '{"text":5}'),
    ],
)
def test_the_searched_text_is_the_text_of_the_outputs(outputs, error, text):
    assert text_of(outputs, error) == text


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_from_the_histogram_is_within_a_bucket_of_the_exact_one(durations, q):
    exact = sorted(durations)[int(q * (len(durations) - 1))]

    assert histogram.percentile(histogram.of(durations), q) == pytest.approx(exact, rel=0.03, abs=1)


def test_histograms_add_up_and_take_away():
    both = histogram.merged(histogram.of([1, 5]), histogram.of([5]), None)

    assert both == histogram.of([1, 5, 5])
    assert histogram.merged(both, {histogram.bucket(1): -1}) == histogram.of([5, 5])
    assert histogram.percentile({}, 0.5) is None
