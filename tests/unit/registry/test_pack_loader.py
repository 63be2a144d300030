"""What the files of a pack may say, and what is said about those that cannot be used."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from models.packs import PackRow
from services.errors import Invalid
from services.registry import pack_drafts
from services.registry.pack_files import MAX_FILE_BYTES, PackFile, PackFolder, folders, read_folder
from services.registry.pack_loader import load, refuse_twins

FLOW = b"tasks:\n  - {name: a, action: core.noop}\n"


def folder(*, manifest: bytes | None = b"label: P\nversion: 1.0.0\n", **files: dict[str, bytes | None]) -> PackFolder:
    """A pack in memory: `workflows={"a.yaml": …}, actions=…, definitions=…`."""
    places = {"workflows": "workflows", "actions": "actions", "definitions": "actions/workflows"}
    found = {
        kind: tuple(PackFile(f"{places[kind]}/{name}", content) for name, content in named.items())
        for kind, named in files.items()
    }
    return PackFolder(ref="p", manifest=PackFile("pack.yaml", manifest) if manifest is not None else None, **found)


def complaints(**files) -> list[tuple[str, str]]:
    errors = load(folder(**files)).errors
    assert all(error["code"] == error["type"] and isinstance(error["path"], str) for error in errors)
    return [(error["file"], error["type"]) for error in errors]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, "too_large"), (b"- a\n", "object_type"), (b"a: [\n", "yaml_invalid"), (b"\xff", "yaml_invalid")],
)
def test_a_file_that_cannot_be_read_is_named(content, kind):
    assert complaints(workflows={"a.yaml": content, "b.yaml": FLOW}) == [("workflows/a.yaml", kind)]


def test_a_workflow_takes_what_its_place_implies():
    (workflow,) = load(folder(workflows={"close_month.yaml": FLOW})).workflows

    draft = workflow.draft
    assert (draft.ref, draft.pack_ref, draft.label, draft.version) == ("p.close_month", "p", "Close month", "1.0.0")


def test_a_manifest_of_another_pack_is_named():
    assert complaints(manifest=b"ref: q\nversion: 1.0\nname: Q\n") == [("pack.yaml", "pack_ref_invalid")]


def test_a_manifest_that_cannot_be_read_leaves_the_workflows_readable():
    pack = load(folder(manifest=b"[", workflows={"a.yaml": FLOW}))

    assert len(pack.workflows) == len(pack.errors) == 1


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (b"runner_type: remote-shell-cmd\nentry_point: x\n", "runner_unknown"),
        (b"workflow_file: workflows/gone.yaml\n", "file_missing"),
        (b"runner: http\neffect: nice\n", "action_invalid"),
        (b"- a\n", "object_type"),
    ],
)
def test_an_action_that_cannot_be_used_is_named(action, kind):
    found = complaints(actions={"a.yaml": action})

    assert {complaint for _, complaint in found} == {kind}


def test_a_field_of_a_workflow_file_is_named_as_places_of_definitions_are():
    errors = load(folder(workflows={"a.yaml": FLOW + b"tags: [a, 'b,c']\n"})).errors

    assert [(error["code"], error["path"], error["loc"]) for error in errors] == [
        ("tag_invalid", "tags[1]", ["tags", 1])
    ]


@pytest.mark.parametrize(
    ("established", "wrong"),
    [(None, "b"), ("workflows/a.yaml", "b"), ("workflows/b.yaml", "a"), ("workflows/gone.yaml", "b")],
)
def test_of_two_files_of_one_ref_the_established_or_the_first_counts(established, wrong):
    pack = load(folder(workflows={"a.yaml": FLOW, "b.yaml": b"ref: p.a\n" + FLOW}))

    refuse_twins(pack, {"p.a": established})

    assert [(error["file"], error["type"]) for error in pack.errors] == [(f"workflows/{wrong}.yaml", "duplicate_ref")]
    assert [workflow.path for workflow in pack.workflows] != [f"workflows/{wrong}.yaml"]


def test_a_workflow_file_of_an_action_that_cannot_be_read_is_named():
    found = complaints(
        actions={"a.yaml": b"workflow_file: workflows/a.workflow.yaml\n"}, definitions={"a.workflow.yaml": b"["}
    )

    assert found == [("actions/workflows/a.workflow.yaml", "yaml_invalid")]


def test_files_whose_names_begin_with_a_dot_are_left_alone(tmp_path):
    for place in ("workflows", "actions", "actions/workflows"):
        (tmp_path / "p" / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / place / ".hidden.yaml").write_text("[")
    for name in ("p", ".q"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "pack.yaml").write_text("label: P\n")

    found = read_folder(tmp_path, "p")

    assert (found.workflows, found.actions, found.definitions) == ((), (), ())
    assert folders(tmp_path) == ["p"]


def test_files_are_found_below_their_folders_and_large_ones_are_not_read(tmp_path):
    (tmp_path / "p" / "workflows").mkdir(parents=True)
    (tmp_path / "p" / "pack.yml").write_text("label: P\n")
    (tmp_path / "p" / "workflows" / "a.yaml").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    (tmp_path / "p" / "workflows" / "notes.txt").write_text("no")
    (tmp_path / "empty").mkdir()

    found = read_folder(tmp_path, "p")

    assert folders(tmp_path) == ["p"]
    assert [(file.path, file.content) for file in found.workflows] == [("workflows/a.yaml", None)]
    assert read_folder(tmp_path, "gone") is None
    assert folders(tmp_path / "gone") == []


def test_a_hash_changes_with_any_file():
    one, other = folder(workflows={"a.yaml": FLOW}), folder(workflows={"a.yaml": FLOW + b"\n"})

    assert one.hash == folder(workflows={"a.yaml": FLOW}).hash
    assert one.hash != other.hash


def pack(**fields) -> PackRow:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    facts = {
        **dict.fromkeys(("description", "config_schema", "config", "source_hash", "owner_id", "community_id")),
        **{"id": uuid4(), "ref": "p", "label": "P", "version": "1", "tags": [], "source": "api", "workflow_count": 0},
        **{"change_no": 1, "modified": False, "created": at, "updated": at},
    }
    return PackRow(**facts | fields)


@pytest.mark.parametrize(
    ("document", "places"),
    [
        ([], [()]),
        ({"ref": "a b", "label": "", "version": "x y"}, [("ref",), ("label",), ("version",)]),
        ({"ref": "p", "lable": "P", "version": 1}, [("lable",), ("version",), ("label",)]),
        ({"ref": "p", "label": "P", "version": "1", "tags": "a", "config": []}, [("tags",), ("config",)]),
        (
            {"ref": "p", "label": "P", "version": "1", "config_schema": {"type": "x"}, "config": {}},
            [("config_schema", "type")],
        ),
    ],
)
def test_every_problem_of_a_pack_is_named(document, places):
    with pytest.raises(Invalid) as caught:
        pack_drafts.read_new(document)

    found = [tuple(error["loc"]) for error in caught.value.details["errors"]]
    assert set(places) <= set(found)


def test_a_change_of_a_pack_is_checked_against_what_it_is():
    with pytest.raises(Invalid) as caught:
        pack_drafts.read_change(
            {"ref": "q", "config": {"a": 1}}, pack(config_schema={"properties": {"a": {"type": "string"}}})
        )

    assert [error["loc"] for error in caught.value.details["errors"]] == [["ref"], ["config", "a"]]


def test_fields_of_an_answer_may_be_sent_back():
    there = pack()

    assert pack_drafts.read_change({"label": "Q", "workflow_count": 3, "id": str(there.id)}, there).given == {"label"}
