"""Numbered plain SQL files: read here, applied by `migrate_sqlite` and `migrate_postgres`.

`0001_init.sql` and so on, one folder per database, never edited after release: a changed checksum stops the start.
Each file is one transaction that also holds its row in `schema_migration`, unless its first line is
`-- no transaction` (CREATE INDEX CONCURRENTLY).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from models.dal.errors import MigrationFailed

_NAME = re.compile(r"(\d+)_\w+\.sql")
LEDGER = (
    "CREATE TABLE IF NOT EXISTS schema_migration (version {integer} PRIMARY KEY, name TEXT NOT NULL,"
    " sha256 TEXT NOT NULL, applied_at {moment} NOT NULL DEFAULT {now})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file."""

    version: int
    name: str
    sha256: str
    sql: str

    @property
    def transactional(self) -> bool:
        """Whether the file runs in a transaction."""
        return not self.sql.lstrip().lower().startswith("-- no transaction")

    def already(self, applied: str | None) -> bool:
        """Whether it was applied with this checksum. Raises MigrationFailed when it was applied with another."""
        if applied is not None and applied != self.sha256:
            raise MigrationFailed(f"{self.name} was changed after it had been applied")
        return applied is not None


def read_migrations(folder: Path, upto: int | None = None) -> list[Migration]:
    """The files of a folder in order, up to a number. Raises MigrationFailed for a missing folder, a bad name or a number used twice."""
    if not folder.is_dir():
        raise MigrationFailed(f"no migrations in {folder}")
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if not match:
            raise MigrationFailed(f"{path.name} is not named like 0001_what_it_does.sql")
        text = path.read_text(encoding="utf-8")
        version = int(match[1])
        if version in found:
            raise MigrationFailed(f"{path.name} and {found[version].name} have the same number")
        digest = hashlib.sha256(text.encode()).hexdigest()
        found[version] = Migration(version=version, name=path.stem, sha256=digest, sql=text)
    return [found[version] for version in sorted(found) if upto is None or version <= upto]
