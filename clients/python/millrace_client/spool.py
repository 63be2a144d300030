"""Run records that survive a dead server: one file each, deleted once the server has answered.

A record is written, flushed to disk and renamed into place before anything is sent, so a crash loses nothing that
`put` has returned for. The server never counts a run twice, so sending again after a crash is harmless.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BATCH = 200


class Spool:
    """A folder of undelivered runs, oldest first. Several processes may share it."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """`folder` is created when missing, readable by its owner only: runs may hold private data."""
        self.folder = Path(folder).expanduser()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, run: Mapping[str, Any]) -> Path:
        """Keep a run; on return it is on disk. Values that JSON does not know are kept as text."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
        half = self.folder / f".{name}"
        with half.open("w", encoding="utf-8") as file:
            json.dump(run, file, default=str)
            file.flush()
            os.fsync(file.fileno())
        return half.rename(self.folder / name)

    def batches(self) -> Iterator[list[tuple[Path, dict[str, Any]]]]:
        """What waits, at most 200 at a time; a file that cannot be read is set aside as `*.bad`."""
        names = sorted(self.folder.glob("[0-9]*.json"))
        for start in range(0, len(names), BATCH):
            batch = [kept for path in names[start : start + BATCH] if (kept := self._read(path))]
            if batch:
                yield batch

    @staticmethod
    def settle(batch: list[tuple[Path, dict[str, Any]]], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Delete what the server took; set aside as `*.rejected` what it refused, and return those answers."""
        refused = []
        for (path, _), result in zip(batch, results, strict=True):
            if result["status"] == "rejected":
                refused.append(result)
                path.rename(path.with_suffix(".rejected"))
            else:
                path.unlink(missing_ok=True)
        return refused

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("[0-9]*.json"))

    @staticmethod
    def _read(path: Path) -> tuple[Path, dict[str, Any]] | None:
        try:
            return path, json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:  # another process delivered it
            return None
        except ValueError:
            path.rename(path.with_suffix(".bad"))
            return None
