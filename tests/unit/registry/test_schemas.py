"""Schemas: the short form, what cannot be used, defaults, violations, and time that stays bounded."""

import pytest

from services.registry.findings import Findings
from services.registry.schemas import as_schema, check_schema, compile_schema


def problems(schema) -> list[tuple]:
    findings = Findings()
    check_schema(schema, ("param_schema",), findings)
    return [tuple(error["loc"][1:]) for error in findings.errors]


def test_the_short_form_of_earlier_services_becomes_an_object_schema():
    short = {"channel": {"type": "string", "required": True}, "times": {"type": "integer", "default": 1}}

    assert as_schema(short) == {
        "type": "object",
        "properties": {"channel": {"type": "string"}, "times": {"type": "integer", "default": 1}},
        "required": ["channel"],
    }
    assert problems(short) == []


@pytest.mark.parametrize(
    "schema", [{"type": "object"}, {"properties": {"a": {"type": "string"}}}, {"$ref": "#/x"}, {}, True, {"enum": [1]}]
)
def test_a_json_schema_is_left_alone(schema):
    assert as_schema(schema) == schema


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ("text", ()),
        ({"type": "objekt"}, ("type",)),
        ({"type": "object", "required": "a"}, ("required",)),
        ({"type": "string", "pattern": "("}, ("pattern",)),
        ({"type": "string", "pattern": "(?=a)"}, ("pattern",)),
        ({"type": "object", "patternProperties": {"(": {}}}, ("pattern",)),
        ({"$ref": "https://example.org/schema.json"}, ("$ref",)),
        ({"allOf": [{"$ref": "file:///etc/passwd"}]}, ("allOf", 0, "$ref")),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, ("unevaluatedProperties",)),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(schema, place):
    assert place in problems(schema)


def test_values_that_look_like_schemas_are_not_searched():
    assert (
        problems({"type": "object", "default": {"$ref": "https://example.org"}, "examples": [{"pattern": "("}]}) == []
    )


def test_no_schema_checks_nothing():
    assert compile_schema(None) is None
    assert compile_schema({}) is None
    assert problems(None) == []


def test_defaults_are_filled_in_deeply_without_touching_what_was_given():
    checker = compile_schema(
        {
            "type": "object",
            "properties": {"a": {"type": "object", "properties": {"b": {"default": 2}}}, "c": {"default": 3}},
        }
    )
    given = {"a": {}}

    assert checker.filled(given) == {"a": {"b": 2}, "c": 3}
    assert given == {"a": {}}
    assert checker.filled([1]) == [1]


def test_every_violation_is_listed_with_its_place():
    checker = compile_schema(
        {
            "type": "object",
            "properties": {"n": {"type": "integer", "maximum": 5}, "tag": {"pattern": "^x"}},
            "patternProperties": {"^s_": {"type": "string"}},
            "additionalProperties": False,
        }
    )

    found = checker.violations({"n": 7, "tag": "y", "s_a": 1, "extra": 1}, ("variables",))

    assert [error["loc"] for error in found] == [
        ["variables", "extra"],
        ["variables", "n"],
        ["variables", "s_a"],
        ["variables", "tag"],
    ]


def test_extra_properties_may_have_a_schema():
    checker = compile_schema({"type": "object", "additionalProperties": {"type": "integer"}})

    assert [error["loc"] for error in checker.violations({"a": 1, "b": "x"}, ())] == [["b"]]
    assert compile_schema({"type": "object", "additionalProperties": True}).violations({"a": 1}, ()) == []


def test_a_hostile_pattern_ends_in_time():
    checker = compile_schema({"type": "string", "pattern": "^(a+)+$"})

    assert checker.violations("a" * 50_000 + "!", ()) != []


def test_a_schema_without_end_is_a_violation():
    checker = compile_schema({"$ref": "#"})

    (error,) = checker.violations({}, ())
    assert error["type"] == "schema_recursion"
