"""A workflow as YAML: the text it came as where that still says the same, else written anew. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from models.workflows import VersionRow, WorkflowRow
from services.formats import strict_yaml
from services.registry import drafts, views
from services.registry.findings import Findings

FIELDS = (
    *("ref", "pack_ref", "name", "label", "description", "version", "author", "tags", "enabled", "community_id"),
    *("param_schema", "out_schema", "definition"),
)
"""The fields a client may send, in the order in which they are written."""


_UNUSUAL = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML takes for line breaks, or does not show: they are written as escapes."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and never an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """A value that occurs twice is written twice."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _UNUSUAL.search(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def of(row: WorkflowRow, version: VersionRow) -> str:
    """A workflow at one version: the text it came as, comments and all, where it still says what is true."""
    wanted = views.detail(row, version)
    if version.source_text is not None and _says(version.source_text, row.pack_ref, wanted):
        return version.source_text
    return write(wanted)


def _says(text: str, pack_ref: str, wanted: Mapping[str, Any]) -> bool:
    """Whether registering the text again would give this workflow; a text may leave out what is neutral."""
    value, _ = strict_yaml.loads(text.encode())
    draft = drafts.named(drafts.read(value, Findings(), defaults={"pack_ref": pack_ref}))
    return all(getattr(draft, name) == wanted[name] for name in FIELDS)


def write(workflow: Mapping[str, Any]) -> str:
    """A workflow in the wrapped form; reading it again gives the same workflow."""
    document = {key: workflow[key] for key in FIELDS if workflow.get(key) is not None}
    return dump(document)


def dump(document: Any) -> str:
    """Any JSON value as YAML, keys in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
