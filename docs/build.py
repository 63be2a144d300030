"""Write the generated pages of the reference: `python docs/build.py`, or `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from config import Variable, variables  # noqa: E402 - the project is not installed as a package
from docs import log_page, reference_pages  # noqa: E402
from docs.states import states_page  # noqa: E402


def settings_page() -> str:
    """The settings page of the reference, as Markdown."""
    lines = [
        "# Settings",
        "",
        "<!-- generated from config.py by `make docs`; do not edit -->",
        "",
        "Everything is set by environment variables, read once at start.",
        "An empty variable counts as not set.",
        "Every variable that cannot be used is named at once, and the server does not start.",
        "A secret may also come from a file: append `_FILE` to its name and give the path.",
    ]
    group = ""
    for variable, default in variables().values():
        if variable.group != group:
            group = variable.group
            lines += ["", f"## {group}", "", "| variable | default | allowed | meaning |", "|---|---|---|---|"]
        lines.append(
            f"| {_names(variable)} | {_default(variable, default)} | {variable.kind.allowed} | {variable.help} |"
        )
    return "\n".join(lines) + "\n"


def _names(variable: Variable) -> str:
    names = f"`{variable.name}`" + (" (or `_FILE`)" if variable.secret else "")
    return names + "".join(f", alias `{alias}`" for alias in variable.aliases)


def _default(variable: Variable, default: Any) -> str:
    if variable.shown is not None:
        return variable.shown
    if default is None:
        return "not set"
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    return f"`{default}`"


PAGES = {
    "reference/settings.md": settings_page,
    "reference/log.md": log_page.page,
    "explanation/states.md": states_page, **reference_pages.PAGES}


def main() -> None:
    """Write every generated page."""
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
