"""Every command of the documentation does what the page says. A page takes part by being listed here."""

from pathlib import Path

import pytest

from tests.docs.commands import Shell, commands, difference
from tests.support.server import ROOT, running

PAGES = (
    "README.md",
    "docs/tutorial/first-workflow.md",
    "docs/how-to/coming-from-earlier-services.md",
    "docs/how-to/record-langgraph-runs.md",
    "docs/reference/execution-api.md",
    "docs/reference/run-history.md",
)


@pytest.mark.e2e
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
    environ = {"PACKS_DIR": str(own)} if "pack" in page else {}
    with running(tmp_path / "data", environ) as server:
        shell = Shell(tmp_path / "work", url=server.url, key=server.key)
        found = list(commands((ROOT / page).read_text()))
        for command in found:
            shell.run(command)

    assert found


def test_a_promised_answer_is_compared_key_by_key():
    answer = {"a": 1, "b": [{"c": "x-1"}, {"d": 2}], "e": None}

    assert difference({"a": 1, "b": [{"c": "x…"}, "…"]}, answer) == ""
    assert difference({"b": [{"c": "y…"}, "…"]}, answer) == "answer.b[0].c is 'x-1', not 'y…'"
    assert difference({"b": [{"c": "x-1"}]}, answer) == "answer.b has 2 items, not 1"
    assert difference({"f": 1}, answer) == "answer.f is '(absent)', not 1"
