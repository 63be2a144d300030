"""Kinds of settings: how a text of the environment becomes a value, and what is allowed, in words. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KIB, MIB = 1024, 1024 * 1024
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_SIZES = {"": 1, "B": 1, "K": KIB, "KIB": KIB, "M": MIB, "MIB": MIB, "G": 1024 * MIB, "GIB": 1024 * MIB}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a text of the environment becomes a value, and what is allowed, in words."""

    allowed: str
    parse: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Variable:
    """One documented environment variable."""

    name: str
    kind: Kind
    help: str
    group: str
    aliases: tuple[str, ...] = ()
    secret: bool = False
    shown: str | None = None


def whole(low: int, high: int) -> Kind:
    """A whole number within bounds, both included."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return Kind(f"a whole number from {low} to {high}", parse)


def size(low: int, high: int) -> Kind:
    """A number of bytes; `8MiB` and `512KiB` are understood."""

    def parse(text: str) -> int:
        digits = text.strip().upper().rstrip("BKMGI")
        value = int(digits) * _SIZES[text.strip().upper()[len(digits) :]]
        if not low <= value <= high:
            raise ValueError
        return value

    return Kind(f"bytes from {low} to {high} (8MiB is understood)", parse)


def one_of(*words: str) -> Kind:
    """One of a few words, in lower case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Kind(" or ".join(words), parse)


def _parse_flag(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError
    return text.lower() in _TRUE


def _parse_web_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    return text.rstrip("/")


def _parse_postgres(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("postgres", "postgresql") or len(parts.path) < 2:
        raise ValueError
    return text


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)


def _parse_networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part, strict=False) for part in _parse_list(text))


def _parse_share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def _parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ValueError
    return tuple((name.strip(), unquote(value.strip())) for name, _, value in pairs)


def _parse_word(text: str) -> str:
    if not text.replace("_", "").replace("-", "").isalnum() or len(text) > 64:
        raise ValueError
    return text


def _parse_key(text: str) -> str:
    if len(text) < 20 or not text.isascii() or any(char.isspace() for char in text):
        raise ValueError
    return text


TEXT = Kind("a text", str)
PATH = Kind("a path", Path)
FLAG = Kind("on or off", _parse_flag)
PUBLIC = Kind(
    "on, off or local", lambda text: "local" if text.lower() == "local" else "on" if _parse_flag(text) else "off"
)
CODE = Kind(
    "on, off or sandboxed",
    lambda text: "sandboxed" if text.lower() == "sandboxed" else "on" if _parse_flag(text) else "off",
)
WEB_URL = Kind("a URL that begins with http:// or https://", _parse_web_url)
POSTGRES = Kind("postgresql://user:password@host:port/database", _parse_postgres)
HOSTS = Kind("host names, suffixes (.example.org) or networks (10.0.0.0/8), separated by commas", _parse_list)
NETWORKS = Kind("addresses or networks, separated by commas", _parse_networks)
WORD = Kind("letters, digits, - and _ (at most 64)", _parse_word)
SHARE = Kind("a number from 0 to 1", _parse_share)
PAIRS = Kind("name=value pairs, separated by commas, values percent-encoded", _parse_pairs)
KEY = Kind("at least 20 visible ASCII characters", _parse_key)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
