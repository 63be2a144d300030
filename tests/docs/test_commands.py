"""Every command of the documentation does what the page says. Every page with commands takes part."""

from pathlib import Path

import pytest

from tests.docs.commands import Shell, commands, difference, files
from tests.support.server import ROOT, running

TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
PAGES = [name for name, text in TEXTS.items() if any(commands(text))]


@pytest.mark.e2e
@pytest.mark.timeout(900)  # the page of the command line starts some fifty processes
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_does_what_the_page_says(page: str, tmp_path: Path):
    packs = tmp_path / "work" / "packs"
    packs.parent.mkdir()
    packs.symlink_to(ROOT / "packs")
    own = tmp_path / "work" / "my-packs"
    own.mkdir()
    for pack in (ROOT / "packs").iterdir():
        if pack.is_dir():
            (own / pack.name).symlink_to(pack)
    environ = {"PACKS_DIR": str(own), "ALLOW_CODE_ACTIONS": "on"} if "pack" in page else {}
    with running(tmp_path / "data", environ) as server:
        shell = Shell(tmp_path / "work", url=server.url, key=server.key)
        for name, text in files(TEXTS[page]).items():
            (shell.folder / name).parent.mkdir(exist_ok=True)
            (shell.folder / name).write_text(text)
        for command in commands(TEXTS[page]):
            shell.run(command)


def test_no_command_needs_a_variable_that_only_its_author_has():
    own = [
        name
        for name, text in TEXTS.items()
        for found in commands(text)
        if "$KEY" in found.text or "$MILLRACE/" in found.text
    ]

    assert own == []


def test_a_promised_answer_is_compared_key_by_key():
    answer = {"a": 1, "b": [{"c": "x-1"}, {"d": 2}], "e": None}

    assert difference({"a": 1, "b": [{"c": "x…"}, "…"]}, answer) == ""
    assert difference({"b": [{"c": "y…"}, "…"]}, answer) == "answer.b[0].c is 'x-1', not 'y…'"
    assert difference({"b": [{"c": "x-1"}]}, answer) == "answer.b has 2 items, not 1"
    assert difference({"f": 1}, answer) == "answer.f is '(absent)', not 1"
