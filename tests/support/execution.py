"""A whole execution side on a test database: the real engine, journal, dispatcher and actions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.dal import AsyncDAL
from models.records import Effect
from services.access.actor import Actor
from services.access.audit import AuditLog
from services.access.permission_service import PermissionService
from services.actions.catalogue import ActionSpec, Catalogue, Runner
from services.actions.core_pack import CORE_ACTIONS
from services.actions.outcome import Call
from services.adapters.expression_worker import ExpressionWorker
from services.engine.graph import Limits
from services.execution.lifecycle import StartRequest
from services.execution.service import Execution, Needs
from services.idempotency import Idempotency
from services.registry import registry
from services.registry.caller import Caller
from services.registry.workflows import Document

ADMIN = Actor(user_id=1, is_admin=True, name="admin")


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class World:
    """What a test works with. `calls` are the calls that test actions have seen."""

    db: AsyncDAL
    execution: Execution
    registry: registry.Registry
    calls: list[Call] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def add_admin(self) -> None:
        """The user behind ADMIN."""
        if await self.db.app_user(1) is None:
            await self.db.app_user.insert(id=1, name="admin", is_admin=True, is_active=True, created=now())

    async def register(self, definition: Mapping[str, Any] | str, ref: str = "default.flow", **more: Any) -> str:
        await self.add_admin()
        body = {"ref": ref, "pack_ref": "default", "label": ref, "version": "1.0.0", "definition": definition}
        await self.registry.workflows.create(Document(value={**body, **more}), Caller(actor=ADMIN))
        return ref

    async def start(self, ref: str = "default.flow", **variables: Any) -> str:
        accepted = await self.execution.lifecycle.start(StartRequest(identifier=ref, variables=variables), by=ADMIN)
        return str(accepted.facts.execution_id)

    async def run(self, ref: str = "default.flow", **variables: Any) -> Any:
        """Start, wait for the end, and give the summary row."""
        return await self.ended(await self.start(ref, **variables))

    async def ended(self, execution_id: str, within_s: float = 15.0) -> Any:
        async with asyncio.timeout(within_s):
            while True:
                row = await self.execution.library.row(execution_id)
                if row.ended_at is not None:
                    return row
                await asyncio.sleep(0.01)

    async def until(self, condition: Any, within_s: float = 15.0) -> None:
        async with asyncio.timeout(within_s):
            while not (await found if inspect.isawaitable(found := condition()) else found):
                await asyncio.sleep(0.01)


def actions(world: World) -> dict[str, Any]:
    async def record(call: Call) -> Any:
        world.calls.append(call)
        return dict(call.input)

    async def gated(call: Call) -> Any:
        world.calls.append(call)
        await world.gate.wait()
        return dict(call.input)

    async def flaky(call: Call) -> Any:
        world.calls.append(call)
        if call.attempt < call.input.get("succeeds_at", 2):
            raise RuntimeError("not yet")
        return call.attempt

    async def broken(_call: Call) -> Any:
        raise RuntimeError("broken for the test")

    return {"record": record, "gated": gated, "flaky": flaky, "broken": broken}


def specs() -> list[ActionSpec]:
    def spec(name: str, entry: str, effect: Effect) -> ActionSpec:
        return ActionSpec(ref=f"test.{name}", effect=effect, runner=Runner.BUILTIN, entry=entry)

    return [
        spec("write", "record", Effect.WRITE),
        spec("gated", "gated", Effect.WRITE),
        spec("flaky", "flaky", Effect.WRITE),
        spec("broken", "broken", Effect.WRITE),
        spec("once", "gated", Effect.IRREVERSIBLE),
    ]


@asynccontextmanager
async def world(db: AsyncDAL, *, lock: Path | None = None, **more: Any) -> AsyncIterator[World]:
    """An open execution side; stopped properly at the end."""
    made = build(db, lock=lock, **more)
    await made.registry.start()
    made.execution.needs.catalogue.add(specs())
    await made.execution.start()
    try:
        yield made
    finally:
        await made.execution.stop()


def build(db: AsyncDAL, *, lock: Path | None = None, **more: Any) -> World:
    audit = AuditLog(db, now=now)
    permissions = PermissionService(db, audit=audit)
    catalogue = Catalogue(CORE_ACTIONS)
    known = registry.build(
        registry.Needs(
            db=db, audit=audit, permissions=permissions, catalogue=catalogue, packs_dir=Path("/nonexistent"), now=now
        )
    )
    needs = Needs(
        db=db,
        versions=known.versions,
        catalogue=catalogue,
        permissions=permissions,
        idempotency=Idempotency(db, now=now),
        audit=audit,
        expressions=ExpressionWorker(),
        now=now,
        version="test",
        limits=Limits(),
        lock=lock,
    )
    made = World(db, None, known)  # type: ignore[arg-type]
    needs = replace(needs, builtins=actions(made), **more)
    made.execution = Execution(needs)
    return made
