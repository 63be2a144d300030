"""What the server says of its own work: every line names an event, and carries its facts by name."""

import asyncio
import io
import json
import logging
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.access.audit import REQUEST_ID, AaaFormatter, JsonFormatter
from services.lines import EXECUTION_ID, told

ROOT = Path(__file__).parents[2]


def record(text, *arguments, level=logging.WARNING, exc_info=None):
    made = logging.LogRecord("millrace.test", level, "", 0, text, arguments, exc_info)
    made.created = 1768651200.0
    return made


def aaa(*given_, **more):
    return AaaFormatter("millrace").format(record(*given_, **more))


def as_json(*given_, **more):
    return json.loads(JsonFormatter("millrace").format(record(*given_, **more)))


def test_every_line_of_the_code_names_an_event_and_the_page_lists_it():
    found = list(runpy.run_path(str(ROOT / "docs" / "log_page.py"))["calls"]())
    page = (ROOT / "docs" / "reference" / "log.md").read_text(encoding="utf-8")

    assert [place for place in found if isinstance(place, str)] == [], "write it as `event.name fact=%s words`"
    assert len(found) > 40
    assert [call.place for call in found if f"| `{call.event}` |" not in page] == [], "run `make docs`"


def test_an_event_is_the_action_of_its_line_and_its_facts_follow():
    line = aaa("lease.lost execution=%s node=%s", "e1", "a b")

    assert line == (
        '[2026-01-17T12:00:00Z] WARNING millrace SYSTEM community=- user=- action=lease.lost result=- execution=e1 node="a b"'
    )


def test_json_has_the_facts_by_name_and_numbers_as_numbers():
    found = as_json("attempt.failed node=%s run=%d item=%s attempt=%d", "a", 0, None, 2, level=logging.INFO)

    assert found == {
        "time": "2026-01-17T12:00:00Z",
        "level": "INFO",
        "module": "millrace",
        "category": "SYSTEM",
        "logger": "millrace.test",
        "event": "attempt.failed",
        "node": "a",
        "run": 0,
        "attempt": 2,
    }


def test_words_follow_the_facts():
    found = as_json("database.unreachable error=%s trying again in %g s", "gone", 2.0)

    assert (found["event"], found["error"], found["message"]) == ("database.unreachable", "gone", "trying again in 2 s")


@pytest.mark.parametrize(
    ("text", "arguments"),
    [("100% done", ()), ("%s is odd", ("x",)), ("some.event 100% done", ()), ("a.b c=%s", ()), ("%(a)s", ({"a": 1},))],
)
def test_what_libraries_say_stays_as_it_is(text, arguments):
    made = record(text, *arguments)

    found = told(made)

    assert " ".join(part for part in (found.event, found.words) if part) == made.getMessage()
    assert found.facts == {}


def test_what_is_bound_to_the_task_is_in_its_lines():
    async def work():
        EXECUTION_ID.set("e1")
        REQUEST_ID.set("r1")
        return as_json("attempt.failed node=%s", "a"), as_json("lease.lost execution=%s", "other")

    bound, named = asyncio.run(work())

    assert (bound["execution"], bound["node"], bound["request_id"]) == ("e1", "a", "r1")
    assert named["execution"] == "other"


def test_a_traceback_is_one_line_and_a_failure():
    try:
        raise RuntimeError("no\nluck")
    except RuntimeError as error:
        line = aaa("execution.crashed execution=%s", "e1", level=logging.ERROR, exc_info=(type(error), error, None))

    assert len(line.splitlines()) == 1
    assert " ERROR millrace ERROR " in line
    assert "result=FAILURE execution=e1 traceback=" in line


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs",))))
def test_no_value_forges_a_fact_or_a_line(value):
    line = aaa("child.%s_refused child=%s reason=%s", "cancel", value, value)
    found = as_json("child.%s_refused child=%s reason=%s", "cancel", value, value)

    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert (found["event"], found["child"], found["reason"]) == ("child.cancel_refused", value, value)


def test_the_lines_of_one_stream_are_json_objects():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("millrace"))
    handler.emit(record("queue.interrupted error=%s again_in_s=%g", "x\ny", 0.1))

    (line,) = stream.getvalue().splitlines()

    assert json.loads(line)["again_in_s"] == 0.1
