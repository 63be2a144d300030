"""A gate that nobody can open, or anybody, is not built."""

import pytest

from services.engine.questions import asked_timeout, check_question, response_schema
from services.engine.turn import BadValue


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"assignees": ["ann"]}, "an object with users and roles"),
        ({"assignees": {"user": ["ann"]}}, "not 'user'"),
        ({"assignees": {"groups": ["board"]}}, "not 'groups'"),
        ({"assignees": {"users": "ann"}}, "users is a list"),
        ({"assignees": {"users": [True]}}, "users is a list"),
        ({"roles": {"a": 1}}, "roles is a list"),
        ({"response_schema": {"type": "nope"}}, "not a valid JSON Schema"),
        ({"schema": {"type": 3}}, "not a valid JSON Schema"),
        ({"response_schema": "text"}, "an object"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, said):
    with pytest.raises(BadValue, match=said):
        check_question(given)


@pytest.mark.parametrize("timeout", ["soon", -1, True, []])
def test_a_time_that_is_none_is_refused(timeout):
    with pytest.raises(ValueError, match="duration"):
        check_question({"timeout": timeout})


def test_what_can_be_meant_passes():
    check_question({})
    check_question({"assignees": {"users": ["ann", 7], "roles": []}, "timeout": "2h", "response_schema": {}})
    assert asked_timeout({"timeout_seconds": "5m"}) == 300
    assert asked_timeout({}) is None


def test_required_inside_a_property_becomes_the_list_of_today():
    asked = {"type": "object", "properties": {"a": {"type": "string", "required": True}, "b": {"required": False}}}

    check_question({"schema": asked})

    assert response_schema({"schema": asked}) == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {}},
        "required": ["a"],
    }
