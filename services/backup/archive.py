"""A backup as a file: a zip archive of what the database gave, and a manifest that says what it is.

It appears under its name when it is complete and on the disk; whoever finds one finds a whole one, or the checksums of
its members say otherwise.
"""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from services.errors import Invalid

FORMAT = 1
MANIFEST = "manifest.json"
COMPRESSION = 1
"""The quickest: a backup should not keep the processors from the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds. `schema`: version -> checksum of its migration; `columns`: of each table, PostgreSQL only."""

    engine: str
    made_at: datetime
    product_version: str
    schema: Mapping[str, str]
    rows: Mapping[str, int]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def schema_version(self) -> int:
        """The number of its newest migration."""
        return max(map(int, self.schema), default=0)


def pack(folder: Path, manifest: Manifest, target: Path) -> None:
    """Make the archive of everything in a folder."""
    part = target.with_name(f"{target.name}.part")
    try:
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w+b") as out:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive:
                archive.writestr(MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
                for path in sorted(folder.iterdir()):
                    archive.write(path, path.name)
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
        sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def read_manifest(path: Path) -> Manifest:
    """What a file says it is. Raises Invalid when it is no backup of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            found: dict[str, Any] = orjson.loads(archive.read(MANIFEST))
        if found["format"] != FORMAT:
            raise Invalid(f"{path} has format {found['format']}; this version reads format {FORMAT}")
        return Manifest(**{**found, "made_at": datetime.fromisoformat(found["made_at"])})
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError, OSError) as error:
        raise Invalid(f"{path} is no backup made by `millrace backup`, or is damaged: {error}") from error


def unpack(path: Path, folder: Path) -> None:
    """Put everything into a folder. Raises Invalid when the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name == MANIFEST or Path(name).name != name:
                    continue
                with archive.open(name) as source, (folder / name).open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise Invalid(f"{path} is damaged: {error}") from error


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder survive a power cut."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
