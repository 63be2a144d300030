"""Log records as facts: what happened, to what, and on whose behalf.

A record is written as `log.warning("lease.lost execution=%s", id)`: the name of an event, facts by name, and at the end
words, if any. The names are read from the text of the call, never from what is put in, so no value can forge a fact.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

EXECUTION_ID: ContextVar[str | None] = ContextVar("execution_id", default=None)
"""The execution that the current task works for; None outside one."""

_EVENT = re.compile(r"[a-z][a-z_]*(?:\.[a-z_%]+)+")
_FACT = re.compile(r"([a-z][a-z_]*)=(%[sdg]\S*)")
_PLACE = re.compile(r"%[-\d.]*[a-z]")


@dataclass(frozen=True, slots=True)
class Template:
    """The text of a call taken apart. `facts`: name and form of each; `words` is what follows them."""

    event: str
    facts: tuple[tuple[str, str], ...]
    words: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a record says. `event` is None for one that names none (a library's)."""

    event: str | None
    facts: dict[str, Any]
    words: str


@lru_cache(maxsize=1024)
def template(text: str) -> Template | None:
    """Take the text of a call apart; None when it names no event."""
    event, _, rest = text.partition(" ")
    if not _EVENT.fullmatch(event):
        return None
    facts = []
    while rest:
        word, _, after = rest.partition(" ")
        found = _FACT.fullmatch(word)
        if found is None:
            break
        facts.append((found[1], found[2]))
        rest = after
    return Template(event, tuple(facts), rest)


def told(record: logging.LogRecord) -> Told:
    """The facts of a record, with what is bound to the task that wrote it. A fact that is None is left out."""
    known = template(record.msg) if isinstance(record.msg, str) else None
    arguments = record.args if isinstance(record.args, tuple) else ()
    if known is None or _places(known) != len(arguments):
        return Told(None, {}, record.getMessage())
    named = len(_PLACE.findall(known.event))
    values = arguments[named : named + len(known.facts)]
    facts = {
        name: value if form in ("%d", "%g") else form % (value,)
        for (name, form), value in zip(known.facts, values, strict=True)
        if value is not None
    }
    event = known.event % arguments[:named] if named else known.event
    rest = arguments[named + len(values) :]
    return Told(event, facts, known.words % rest if rest else known.words)


@lru_cache(maxsize=1024)
def _places(known: Template) -> int:
    text = " ".join([known.event, *(form for _, form in known.facts), known.words])
    return len(_PLACE.findall(text.replace("%%", "")))


def escape(text: str) -> str:
    r"""Control characters as `\n`, `\x1b` …, so that no value can forge a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
