"""Strict JSON agrees with the ordinary reader on everything it accepts."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import BadRequest
from services.formats import strict_json

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
INTEGERS = st.integers(-(2**53), 2**53)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_is_accepted_means_what_everybody_reads(value, ascii_only):
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()

    assert strict_json.loads(raw) == json.loads(raw)


@given(VALUES, st.integers(2**53 + 1, 2**200))
def test_an_integer_that_cannot_be_kept_is_found_wherever_it_stands(value, number):
    raw = json.dumps({"a": value, "b": [{"c": number}]}).encode()

    with pytest.raises(BadRequest) as caught:
        strict_json.loads(raw)

    assert caught.value.details["errors"][-1]["loc"] == ["body", "b", 0, "c"]


def test_all_problems_are_named_at_once():
    raw = b'{"a": NaN, "b": {"c": 1, "c": 2}, "d": ["\\u0000", 99999999999999999999]}'

    with pytest.raises(BadRequest) as caught:
        strict_json.loads(raw)

    found = {(".".join(map(str, item["loc"])), item["type"]) for item in caught.value.details["errors"]}
    assert found == {
        ("body.a", "not_finite"),
        ("body.b.c", "duplicate_key"),
        ("body.d.0", "nul_character"),
        ("body.d.1", "integer_too_large"),
    }


@pytest.mark.parametrize(
    "text", ['"a:b"', '{"a:b": "c:d"}', '{"\\"": ":"}', '["\\\\", "{[:"]', '{"a": "1234567890123456789"}']
)
def test_what_only_looks_suspicious_passes(text):
    assert strict_json.loads(text.encode()) == json.loads(text)


@given(st.binary(max_size=40))
def test_no_bytes_make_it_fail_in_another_way(raw):
    with contextlib.suppress(BadRequest):
        strict_json.loads(raw)


def test_a_hostile_document_does_not_make_a_larger_answer():
    raw = b"[" + b",".join([b"99999999999999999999"] * 20_000) + b"]"

    with pytest.raises(BadRequest) as caught:
        strict_json.loads(raw)

    assert len(caught.value.details["errors"]) == strict_json.MAX_PROBLEMS
