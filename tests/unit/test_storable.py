from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.execution.storable import Unstorable, to_journal

MIB = 1 << 20


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("plain", "plain"),
        ("nul\x00inside", "nul\ufffdinside"),
        ("lone\ud800surrogate", "lone\ufffdsurrogate"),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        (2**70, str(2**70)),
        (2**63, str(2**63)),
        (2**63 - 1, 2**63 - 1),
        (float("nan"), None),
        ([float("inf")], [None]),
        (("a", {"b"}), ["a", ["b"]]),
        (b"bytes\xff", "bytes\ufffd"),
        (Decimal("1.10"), "1.10"),
        (Point(1), {"x": 1}),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01T00:00:00+00:00"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
    ],
)
def test_every_result_becomes_something_both_databases_keep(value: Any, stored: Any) -> None:
    assert to_journal(value, max_bytes=MIB) == stored


def test_plain_data_is_passed_on_without_a_copy() -> None:
    value = {"a": [1, 2.5, None, True, "x"]}

    assert to_journal(value, max_bytes=MIB) is value


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(Unstorable, match="nested deeper"):
        to_journal(loop, max_bytes=MIB)


def test_a_value_over_the_limit_is_refused_as_too_large() -> None:
    with pytest.raises(Unstorable) as refusal:
        to_journal("x" * 100, max_bytes=50)

    assert refusal.value.too_large


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)


def repr_texts(value: Any) -> str:
    """Every text inside a JSON value, joined."""
    if isinstance(value, dict):
        return "".join(key + repr_texts(item) for key, item in value.items())
    if isinstance(value, list):
        return "".join(map(repr_texts, value))
    return value if isinstance(value, str) else ""


@given(anything)
def test_what_was_stored_reads_back_the_same(value: Any) -> None:
    stored = to_journal(value, max_bytes=MIB)

    assert orjson.loads(orjson.dumps(stored)) == stored
    assert "\x00" not in repr_texts(stored)
