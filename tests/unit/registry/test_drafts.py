"""Documents in every form become the same draft; names and places follow rules."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import Invalid
from services.registry import refs
from services.registry.checking import place_of
from services.registry.drafts import read_change, read_new
from services.registry.findings import Findings, at, summary

TASKS = [{"name": "a", "action": "core.noop"}]
WRAPPED = {"ref": "p.a", "pack_ref": "p", "label": "A", "version": "1", "definition": {"tasks": TASKS}}


def test_wrapped_and_flat_forms_say_the_same():
    flat = {"ref": "p.a", "pack_ref": "p", "label": "A", "version": "1", "tasks": TASKS}

    assert read_new(flat) == read_new(WRAPPED)


def test_an_orquesta_document_keeps_its_own_version():
    document = {"version": 1.0, "description": "d", "tags": ["t"], "tasks": {"a": {"action": "core.noop"}}}
    draft = read_new({"ref": "p.a", "pack_ref": "p", "label": "A", **document}, defaults={"version": "2.0"})

    assert draft.definition == document
    assert (draft.version, draft.description, draft.tags) == ("2.0", "d", ["t"])


def test_what_a_document_says_wins_over_what_its_place_implies():
    draft = read_new({"label": "Said", "tasks": TASKS}, defaults={**WRAPPED, "label": "Implied"})

    assert (draft.label, draft.ref) == ("Said", "p.a")


def test_aliases_of_schemas_are_understood():
    draft = read_new({**WRAPPED, "parameters": {"type": "object"}, "output_schema": {"type": "object"}})

    assert draft.param_schema == draft.out_schema == {"type": "object"}


def test_fields_of_an_answer_may_be_sent_back():
    draft = read_change({"label": "B", "id": "x", "total_runs": 3, "created": "now", "revision": 4})

    assert draft.given == {"label"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ref", 7),
        ("label", None),
        ("version", 1.0),
        ("tags", "a,b"),
        ("tags", [1]),
        ("enabled", "yes"),
        ("community_id", -1),
        ("community_id", True),
        ("definition", []),
        ("name", "a/b"),
        ("version", "a b"),
        ("label", " "),
        ("param_schema", 3),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(field, value):
    with pytest.raises(Invalid) as caught:
        read_new({**WRAPPED, field: value})

    assert [error["loc"][0] for error in caught.value.details["errors"]] == [field]


def test_a_document_must_be_an_object():
    with pytest.raises(Invalid, match="must be an object"):
        read_new([1])


def test_a_ref_lies_in_its_pack():
    with pytest.raises(Invalid, match="must begin with its pack_ref"):
        read_new({**WRAPPED, "ref": "q.a"})


@pytest.mark.parametrize("ref", ["", ".a", "a.", "a..b", "a b.c", "a/b.c", "a.b@1", "ä.b", "a." + "b" * 260])
def test_a_ref_fits_into_a_path(ref):
    findings = Findings()

    refs.check_ref(ref, None, findings)

    assert findings.errors


@given(
    st.from_regex(r"[a-z]{1,5}(\.[a-z_-]{1,5}[a-z]){1,3}", fullmatch=True),
    st.from_regex(r"[0-9]\.[0-9]", fullmatch=True),
)
def test_an_identifier_is_taken_apart_as_it_was_put_together(ref, version):
    assert refs.parse(ref) == refs.Identifier(name=ref)
    assert refs.parse(f"{ref}@{version}") == refs.Identifier(name=ref, version=version)


def test_an_id_is_an_id():
    some = uuid.uuid4()

    assert refs.parse(str(some)).id == some


def test_parts_of_a_ref():
    assert (refs.last_part("a.b.c"), refs.pack_of("a.b.c"), refs.package_id("c", "1")) == ("c", "a", "c-1")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", []),
        ("tasks.load.next[0].when", ["tasks", "load", "next", 0, "when"]),
        ("tasks[3].input", ["tasks", 3, "input"]),
    ],
)
def test_a_place_in_words_is_a_place_in_steps(path, place):
    assert list(place_of(path)) == place


def test_errors_can_be_moved_below_another_place():
    findings = Findings()
    findings.add(("a",), "is bad", kind="bad")
    findings.add((), "is worse", kind="worse")

    assert summary(findings.errors) == "a: is bad (and 1 more)"
    assert [error["loc"] for error in at(("x",), findings.errors)] == [["x", "a"], ["x"]]
