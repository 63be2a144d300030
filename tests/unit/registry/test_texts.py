"""YAML that is written is read as the same value."""

from hypothesis import given
from hypothesis import strategies as st

from services.formats import strict_yaml
from services.registry.texts import dump

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\x00"), max_size=40)
TRICKY = st.sampled_from(
    [
        "yes",
        "on",
        "NO",
        "null",
        "~",
        "1.0",
        "1e3",
        "0x10",
        "2026-01-17",
        "- a",
        "a: b",
        "{{ x }}",
        "#",
        "",
        " a ",
        "\n",
        "a\nb\n",
    ]
)
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    TRICKY,
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | TRICKY, inner, max_size=4), max_leaves=15
)


@given(st.dictionaries(TEXT | TRICKY, VALUE, max_size=4))
def test_a_document_survives_being_written_and_read(document):
    read, _ = strict_yaml.loads(dump(document).encode())

    assert read == document
    assert list(read) == list(document)


def test_a_value_that_occurs_twice_is_written_twice():
    shared = {"a": [1]}

    assert "&" not in dump({"x": shared, "y": shared})


def test_a_text_of_several_lines_is_a_block():
    assert dump({"script": "one\ntwo\n"}) == "script: |\n  one\n  two\n"
