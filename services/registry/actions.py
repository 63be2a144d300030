"""What a task may call: the declarations of every pack, kept in step with the database."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from models import packs
from services.actions import catalogue
from services.actions.catalogue import ActionSpec, BadAction, Catalogue
from services.actions.core_pack import CORE_ACTIONS
from services.errors import NotFound
from services.registry.refs import pack_of

log = logging.getLogger("millrace.registry")


class Actions:
    """Lists and shows actions; tells the catalogue of this process about those that other processes loaded."""

    def __init__(self, db: Any, table: Catalogue) -> None:
        self._db = db
        self._table = table
        self._mark: tuple[Any, ...] | None = None
        self._examples: dict[str, Any] = {}

    async def refresh(self) -> bool:
        """Read the declarations anew when any changed; says whether one did. Costs one small query otherwise."""
        mark = await packs.actions_mark(self._db)
        if mark == self._mark:
            return False
        by_pack: dict[str, list[ActionSpec]] = {}
        for row in await packs.actions(self._db):
            spec = _spec(row)
            if spec is not None:
                by_pack.setdefault(row["pack_ref"], []).append(spec)
                self._examples[spec.ref] = row["spec"].get("examples")
        for pack_ref in {*by_pack, *(spec.pack_ref for spec in self._table.all())}:
            self.replace(pack_ref, by_pack.get(pack_ref, []))
        self._mark = mark
        return True

    def replace(self, pack_ref: str, specs: list[ActionSpec]) -> None:
        """Let a pack's actions be these; what is built in stays."""
        built_in = {spec.ref: spec for spec in CORE_ACTIONS if spec.pack_ref == pack_ref}
        self._table.replace_pack(pack_ref, (built_in | {spec.ref: spec for spec in specs}).values())

    def names(self) -> Catalogue:
        """The refs of every action that can be performed now, for membership tests."""
        return self._table

    async def list(
        self, *, pack_ref: str | None = None, needle: str | None = None, without: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """Every action, or those of a pack, or those with a text in ref or description; by ref. None of the packs
        `without`."""
        await self.refresh()
        wanted = needle.casefold() if needle else ""
        return [
            self._view(spec)
            for spec in self._table.all()
            if pack_ref in (None, spec.pack_ref)
            and spec.pack_ref not in without
            and wanted in f"{spec.ref} {spec.description}".casefold()
        ]

    async def get(self, ref: str, *, without: Collection[str] = ()) -> dict[str, Any]:
        """One action, of none of the packs `without`. Raises `NotFound`."""
        await self.refresh()
        spec = self._table.get(ref)
        if spec is None or spec.pack_ref in without:
            raise NotFound(f"There is no action {ref}", action=ref)
        return self._view(spec)

    def _view(self, spec: ActionSpec) -> dict[str, Any]:
        return {**spec.document(), "pack_ref": pack_of(spec.ref), "examples": self._examples.get(spec.ref) or []}


def _spec(row: Mapping[str, Any]) -> ActionSpec | None:
    try:
        return catalogue.parse(row["spec"], pack_ref=row["pack_ref"])
    except BadAction as error:
        log.warning("registry.action_unusable ref=%s problems=%s", error.ref, "; ".join(error.problems))
        return None
