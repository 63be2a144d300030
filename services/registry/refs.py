"""How workflows and packs are named. Pure.

A *ref* is `pack.name` (`slack.incident_workflow`); a *package id* is `name-version` (`restart-unhealthy-1.0.0`);
an *identifier* is what a client writes where a path says `{id}`: an id, a ref, `ref@version` or a package id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from services.registry.findings import Findings

MAX_REF = 255
MAX_PACK = 100
MAX_LABEL = 255
MAX_VERSION = 50
MAX_TAGS = 50
MAX_TAG = 100
DEFAULT_PACK = "default"
RESERVED_PACKS = frozenset({"core", DEFAULT_PACK, "wpk"})
"""Packs whose actions every workflow may call by what it is, not by whose it is: the operator's to register."""

_PACK = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
_REF = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_VERSION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+~-]*[A-Za-z0-9_])?")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_TAG = re.compile(r"[^\x00-\x1f,]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """An identifier taken apart: either an id, or a name with perhaps a version label."""

    id: UUID | None = None
    name: str = ""
    version: str | None = None


def parse(text: str) -> Identifier:
    """Take an identifier apart; anything is an identifier, though perhaps of nothing."""
    try:
        return Identifier(id=UUID(text))
    except ValueError:
        pass
    name, at, version = text.partition("@")
    return Identifier(name=name, version=version if at else None)


def last_part(ref: str) -> str:
    """The name a workflow has when nobody gave it one: the last part of its ref."""
    return ref.rpartition(".")[2]


def pack_of(ref: str) -> str:
    """The pack a ref belongs to: everything before its first dot."""
    return ref.partition(".")[0]


def package_id(name: str, version: str) -> str:
    """The package id of a name at a version."""
    return f"{name}-{version}"


def is_pack_ref(text: str) -> bool:
    """Whether a text can be a pack's ref, and so the name of its folder."""
    return bool(_PACK.fullmatch(text)) and len(text) <= MAX_PACK


def check_pack_ref(ref: object, findings: Findings, *, loc: str = "ref") -> None:
    """A pack's ref: letters, digits, `_` and `-`."""
    if not isinstance(ref, str) or not is_pack_ref(ref):
        findings.add((loc,), f"must be 1 to {MAX_PACK} letters, digits, '_' or '-'", kind="pack_ref_invalid")


def check_ref(ref: object, pack_ref: object, findings: Findings) -> None:
    """A workflow's ref: the pack's, a dot, and a name."""
    if not isinstance(ref, str) or not _REF.fullmatch(ref) or ".." in ref or len(ref) > MAX_REF:
        message = f"must be up to {MAX_REF} letters, digits, '_', '-' or '.', such as slack.incident_workflow"
        findings.add(("ref",), message, kind="ref_invalid")
    elif "." not in ref:
        findings.add(("ref",), "must contain a dot, such as slack.incident_workflow", kind="ref_invalid")
    elif isinstance(pack_ref, str) and not ref.startswith(f"{pack_ref}."):
        findings.add(("ref",), f"must begin with its pack_ref and a dot: {pack_ref}.…", kind="ref_outside_pack")


def check_name(name: str, findings: Findings) -> None:
    """A workflow's name, as it appears in package ids."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        findings.add(("name",), "must be 1 to 200 letters, digits, '_', '-' or '.'", kind="name_invalid")


def check_version(version: str, findings: Findings) -> None:
    """A version label; it must fit into a path."""
    if not 1 <= len(version) <= MAX_VERSION:
        findings.add(("version",), f"must be 1 to {MAX_VERSION} characters", kind="version_length")
    elif not _VERSION.fullmatch(version):
        findings.add(("version",), "may have letters, digits and . _ + ~ - only, such as 1.0.0", kind="version_invalid")


def check_label(label: str, findings: Findings) -> None:
    """A label for people."""
    if not len(label.strip()) >= 1 or len(label) > MAX_LABEL:
        findings.add(("label",), f"must be 1 to {MAX_LABEL} characters", kind="label_length")


def check_tags(tags: list[str], findings: Findings) -> None:
    """Tags: short, without commas, because a list of them in a query is separated by commas."""
    if len(tags) > MAX_TAGS:
        findings.add(("tags",), f"at most {MAX_TAGS} tags", kind="too_many_tags")
    for number, tag in enumerate(tags[: MAX_TAGS + 1]):
        if not _TAG.fullmatch(tag) or len(tag) > MAX_TAG:
            findings.add(("tags", number), f"must be 1 to {MAX_TAG} characters without a comma", kind="tag_invalid")
