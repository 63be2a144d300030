"""API keys: how they look and what is stored of them. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

SCHEME = "mlr"
SHOWN = 8


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment it is known: its text, its visible prefix, and what is stored."""

    text: str = field(repr=False)
    prefix: str
    hash: str


def make(entropy: bytes, *, pepper: str | None) -> NewKey:
    """A key from 32 random bytes, written `mlr_` and 43 letters."""
    text = f"{SCHEME}_{base64.urlsafe_b64encode(entropy).decode().rstrip('=')}"
    return stored(text, pepper=pepper)


def stored(text: str, *, pepper: str | None) -> NewKey:
    """What is kept of a key given by the operator."""
    shown = text[: len(SCHEME) + 1 + SHOWN] if text.startswith(f"{SCHEME}_") else f"{text[:4]}…"
    return NewKey(text, shown, digest(text, pepper=pepper))


def digest(text: str, *, pepper: str | None) -> str:
    """SHA-256 of a key, or HMAC-SHA-256 when the server has a pepper; hexadecimal."""
    raw = text.encode("utf-8", "replace")
    if pepper is None:
        return hashlib.sha256(raw).hexdigest()
    return hmac.new(pepper.encode(), raw, hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two digests are equal, in constant time."""
    return hmac.compare_digest(one, other)
