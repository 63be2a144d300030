"""The files of a pack: found below `PACKS_DIR`, read once, hashed. Knows nothing of what they mean.

Declarations whose names begin with a dot are left alone: editors and copying programs keep theirs beside the others.

slack/pack.yaml                 ref, label, version, description, tags, config_schema
slack/workflows/*.yaml          one workflow each
slack/actions/*.yaml            one action each
slack/actions/**                whatever else is there: files that python and shell actions run
slack/actions/workflows/*.yaml  definitions that an action file names (the layout of earlier services)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FILES = 5_000
MAX_FILE_BYTES = 1024 * 1024
MANIFESTS = ("pack.yaml", "pack.yml")
_FOLDERS = ("workflows", "actions", "actions/workflows")
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class PackFile:
    """One file: its path below the pack with `/`, and its bytes; None when it is too large to be read."""

    path: str
    content: bytes | None

    @property
    def hash(self) -> str:
        """SHA-256 of its bytes."""
        return hashlib.sha256(self.content or b"").hexdigest()

    @property
    def stem(self) -> str:
        """Its name without folder and suffixes: `deploy` for `workflows/deploy.workflow.yaml`."""
        return self.path.rpartition("/")[2].partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFolder:
    """A pack as it lies on disk."""

    ref: str
    manifest: PackFile | None
    workflows: tuple[PackFile, ...] = ()
    actions: tuple[PackFile, ...] = ()
    definitions: tuple[PackFile, ...] = ()
    code: frozenset[str] = frozenset()
    """Paths of files below `actions/` that are no declarations. They are read when they are run."""

    @property
    def hash(self) -> str:
        """SHA-256 over all paths and contents: equal means nothing changed."""
        whole = hashlib.sha256()
        manifest = (self.manifest,) if self.manifest else ()
        for file in (*manifest, *self.workflows, *self.actions, *self.definitions):
            whole.update(f"{file.path}\0{file.hash}\0".encode())
        whole.update("".join(f"{path}\0" for path in sorted(self.code)).encode())
        return whole.hexdigest()


def read_folder(packs_dir: Path, ref: str) -> PackFolder | None:
    """The files of one pack, or None when it has no folder. Blocks on the disk: call it in a thread."""
    root = packs_dir / ref
    if not root.is_dir() or root.resolve().parent != packs_dir.resolve():
        return None
    manifests = [_read(root, root / name) for name in MANIFESTS if (root / name).is_file()]
    workflows, actions, definitions = (tuple(_files(root, folder)) for folder in _FOLDERS)
    return PackFolder(
        ref=ref,
        manifest=manifests[0] if manifests else None,
        workflows=workflows,
        actions=actions,
        definitions=definitions,
        code=frozenset(_code(root)),
    )


def folders(packs_dir: Path) -> list[str]:
    """The refs of packs that have a folder with a manifest."""
    if not packs_dir.is_dir():
        return []
    there = (path for path in packs_dir.iterdir() if not _is_hidden(path))
    return sorted(path.name for path in there if any((path / manifest).is_file() for manifest in MANIFESTS))


def _files(root: Path, folder: str) -> Iterator[PackFile]:
    place = root / folder
    if not place.is_dir():
        return
    inside = root.resolve()
    for number, path in enumerate(sorted(path for path in place.iterdir() if not _is_hidden(path))):
        if number >= MAX_FILES:
            return
        if path.suffix in _SUFFIXES and path.is_file() and path.resolve().is_relative_to(inside):
            yield _read(root, path)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _code(root: Path) -> Iterator[str]:
    inside = root.resolve()
    for number, path in enumerate((root / "actions").rglob("*")):
        if number >= MAX_FILES:
            return
        if path.suffix not in _SUFFIXES and path.is_file() and path.resolve().is_relative_to(inside):
            yield path.relative_to(root).as_posix()


def _read(root: Path, path: Path) -> PackFile:
    content = path.read_bytes() if path.stat().st_size <= MAX_FILE_BYTES else None
    return PackFile(path.relative_to(root).as_posix(), content)
