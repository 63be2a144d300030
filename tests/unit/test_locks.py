"""The locks pin everything by hash, name no registry, and know every dependency that is declared."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {
    "requirements.lock": PROJECT["dependencies"],
    "requirements-image.lock": [*PROJECT["dependencies"], *EXTRAS["ai"], *EXTRAS["milvus"]],
    "requirements-dev.lock": [*PROJECT["dependencies"], *(name for extra in EXTRAS.values() for name in extra)],
}


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_knows_every_declared_dependency(lock):
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / lock).read_text(), re.M))

    assert {name_of(requirement) for requirement in LOCKS[lock]} <= pinned, "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_registry(lock):
    entries = re.split(r"^(?=[a-z])", (ROOT / lock).read_text(), flags=re.M)[1:]

    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in "".join(entries)
