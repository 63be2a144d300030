"""The text of a setting: under its name or an alias, or in the file that `…_FILE` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.formats.environment import Variable


def find(variable: Variable, env: Mapping[str, str], notes: list[str], problems: list[str]) -> tuple[str, str | None]:
    """The name that was used, and its text; None when it is not set. What cannot be read is added to `problems`."""
    for name in (variable.name, *variable.aliases):
        text = env.get(name)
        path = env.get(f"{name}_FILE") if variable.secret else None
        if text is None and path is None:
            continue
        if name != variable.name:
            notes.append(f"{name} is used as {variable.name}")
        if text is not None:
            return name, text.strip()
        return f"{name}_FILE", _read_secret(f"{name}_FILE", path or "", problems)
    return variable.name, None


def _read_secret(name: str, path: str, problems: list[str]) -> str | None:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(
            f"{name} must name a readable file: {getattr(error, 'strerror', None) or 'not UTF-8 text'} ({path})"
        )
        return None
    if not text:
        problems.append(f"{name} names an empty file ({path})")
        return None
    return text
