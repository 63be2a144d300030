"""Waiting for the end of an execution, and telling a person at a terminal how far it is."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from controllers.terminal.api import UNREACHABLE, Api, CommandFailed, at
from services.lines import escape

ENDED = ("completed", "failed", "cancelled")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
GONE_S = 60.0
"""How long a server that answered before may be away while its execution is waited for."""
CLEAR = "\r\x1b[K"


class Progress:
    """One line on standard error that is written over; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._shown = ""
        self._on = sys.stderr.isatty()

    def tell(self, text: str) -> None:
        """Replace the line."""
        if self._on and text != self._shown:
            self._shown = text
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"{CLEAR}{escape(text)[:width]}", err=True, nl=False)

    def clear(self) -> None:
        """Leave nothing behind."""
        if self._shown:
            self._shown = ""
            click.echo(CLEAR, err=True, nl=False)


async def until_ended(api: Api, execution_id: str, *, seconds: float | None) -> dict[str, Any]:
    """The execution once it has ended, or as it is after so many seconds. A server that restarts is waited for."""
    if await api.is_paused():
        click.echo("Everything is paused, so this waits: `millrace executions resume-all` lets it go on", err=True)
    progress, pause_s, began_at = Progress(), FIRST_PAUSE_S, time.monotonic()
    seen_at = began_at
    try:
        while True:
            now = time.monotonic()
            try:
                found = await api.data("GET", at("workflows", "executions", execution_id), include_logs=False)
            except CommandFailed as error:
                if error.code != UNREACHABLE or now - seen_at > GONE_S:
                    raise
                progress.tell("the server does not answer, trying again")
            else:
                seen_at = now
                if found["status"] in ENDED or (seconds is not None and now - began_at >= seconds):
                    return dict(found)
                progress.tell(summary(found))
            left_s = LONGEST_PAUSE_S if seconds is None else max(0.0, began_at + seconds - now)
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)
    finally:
        progress.clear()


def summary(found: Mapping[str, Any]) -> str:
    """How far an execution is, in one line."""
    counts = Counter(state["status"] for state in found["node_states"].values())
    done = counts["completed"] + counts["skipped"]
    parts = [f"{found['status']}: {done} done"]
    parts += [f"{counts[status]} {status}" for status in ("running", "ready", "failed") if counts[status]]
    waits = [
        f"{wait['node_id'] or 'its turn'} ({wait['kind']}, since {wait['since']})"
        for wait in found.get("waiting_for") or ()
    ]
    if waits:
        parts.append(f"waits for {', '.join(waits)}")
    return " · ".join(parts)
