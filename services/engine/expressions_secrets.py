"""Secrets inside rendered values: references until the very moment an action is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The secret called `name`; its value is not here."""

    name: str


@dataclass(frozen=True, slots=True)
class SecretText:
    """A text of which some parts are secrets."""

    parts: tuple[str | SecretRef, ...]

    def __str__(self) -> str:
        return "".join(part if isinstance(part, str) else f"[secret {part.name}]" for part in self.parts)


def extract_secrets(value: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Split a rendered value into what may be journaled and the places of its secrets.

    The places are JSON: `{"at": [keys], "parts": [text or {"secret": name}]}`. Data cannot forge them,
    because they are kept beside the value, not in it.
    """
    places: list[dict[str, Any]] = []
    return _masked(value, (), places), places


def insert_secrets(value: Any, places: Sequence[Mapping[str, Any]], reveal: Callable[[str], str]) -> Any:
    """Put the secrets that `reveal` names back into a copy of a journaled value."""
    for place in places:
        parts = [part if isinstance(part, str) else reveal(part["secret"]) for part in place["parts"]]
        value = _replaced(value, list(place["at"]), "".join(parts))
    return value


def _masked(value: Any, at: tuple[str | int, ...], places: list[dict[str, Any]]) -> Any:
    if isinstance(value, SecretText):
        parts = [part if isinstance(part, str) else {"secret": part.name} for part in value.parts]
        places.append({"at": list(at), "parts": parts})
        return str(value)
    if type(value) is dict:
        return {key: _masked(item, (*at, key), places) for key, item in value.items()}
    if type(value) is list:
        return [_masked(item, (*at, index), places) for index, item in enumerate(value)]
    return value


def _replaced(value: Any, at: list[str | int], text: str) -> Any:
    if not at:
        return text
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copy[at[0]] = _replaced(copy[at[0]], at[1:], text)
    return copy
