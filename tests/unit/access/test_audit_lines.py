"""The AAA log: one exact form, and nothing a value contains can forge a line or a field."""

import io
import json
import logging
import re
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.journal_statements import AUDIT
from services import logs
from services.access.actor import ANONYMOUS, Actor
from services.access.audit import AaaFormatter, AuditLog, Category, Entry, JsonFormatter, Result, say

LINE = re.compile(
    r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\] (INFO|WARNING|ERROR) millrace (AUTH|AUTHZ|AUDIT|ERROR|SYSTEM) "
    r'community=(-|\S+|"[^"]*") user=(-|\S+|"[^"]*") action=\S+ result=(-|SUCCESS|ALLOWED|DENIED|FAILURE)( \S+=.*)?'
)


@pytest.fixture
def lines():
    """What is logged, as the configured handler writes it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(level="info", form="aaa", module="millrace", stream=stream)
    yield lambda: stream.getvalue().splitlines()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


def entry(**more) -> Entry:
    facts = {"category": Category.AUTHZ, "action": "execute_workflow", "result": Result.DENIED}
    return Entry(**{**facts, **more})


def text_of(found: Entry, formatter: logging.Formatter | None = None) -> str:
    record = logging.makeLogRecord({"levelname": "WARNING", "levelno": 30, "created": 1768651200.0, "entry": found})
    return (formatter or AaaFormatter("millrace")).format(record)


def test_a_denial_has_the_documented_form():
    line = text_of(entry(actor=Actor(user_id=789), community_id=123, reason="no-grant"))

    assert line == (
        "[2026-01-17T12:00:00Z] WARNING millrace AUTHZ community=123 user=789 action=execute_workflow "
        "result=DENIED reason=no-grant"
    )


def test_a_missing_value_is_a_dash():
    assert " community=- user=- action=" in text_of(entry())


@pytest.mark.parametrize(
    ("result", "level"), [("SUCCESS", "INFO"), ("ALLOWED", "INFO"), ("DENIED", "WARNING"), ("FAILURE", "ERROR")]
)
def test_each_result_has_its_level(lines, result, level):
    say(entry(result=Result(result)))

    assert lines()[0].split()[1] == level


def test_an_ordinary_record_becomes_a_line_of_the_same_form(lines):
    logging.getLogger("millrace.app").info("first\nsecond")
    logging.getLogger("millrace.app").error("broken")

    found = lines()
    assert [LINE.fullmatch(line) is not None for line in found] == [True, True]
    assert [line.split()[3] for line in found] == ["SYSTEM", "ERROR"]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs",))))
def test_no_value_forges_a_line_or_a_field(reason):
    line = text_of(entry(reason=reason, resource=reason))

    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
    assert len(line.splitlines()) == 1
    assert bare.count("result=") == 1
    assert line.isprintable()


@pytest.mark.parametrize(
    "more", [{}, {"resource": "r"}, {"workflow_id": UUID(int=1), "reason": "a b", "request_id": "q"}]
)
@pytest.mark.parametrize("actor", [None, ANONYMOUS, Actor(user_id=7, community_id=3, name="ada")])
def test_both_forms_name_the_same_facts_in_the_same_order(actor, more):
    found = entry(actor=actor, **more)
    line, fields = text_of(found), list(json.loads(text_of(found, JsonFormatter("millrace"))))

    assert re.findall(r" (\w+)=", line) == fields[fields.index("category") + 1 :]


def test_json_lines_carry_the_same_facts():
    found = json.loads(
        text_of(entry(actor=ANONYMOUS, workflow_id=UUID(int=1), reason="a\nb"), JsonFormatter("millrace"))
    )

    assert found["category"] == "AUTHZ"
    assert found["user"] == "anonymous"
    assert found["reason"] == "a\nb"
    assert found["workflow"] == str(UUID(int=1))


@pytest.mark.parametrize("actor", [None, ANONYMOUS, Actor(user_id=7, key_id=UUID(int=9), community_id=3, name="ada")])
def test_the_row_of_a_grouped_commit_is_the_row_of_the_table(actor):
    at = datetime(2026, 1, 17, tzinfo=UTC)
    found = entry(actor=actor, workflow_id=UUID(int=1), resource="r", reason="why", details={"n": 1}, request_id="q")

    row = dict(zip([name for name, _ in AUDIT.fields], AuditLog(None, now=lambda: at).bulk(found), strict=True))

    expected = found.columns(row_id=UUID(row["id"]), at=at)
    assert row == {name: str(value) if isinstance(value, UUID) else value for name, value in expected.items()}
