"""A registry over a real database, on SQLite and on PostgreSQL, and people who use it."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.dal import AsyncDAL
from models.workflow_lists import Filters, Window
from services.access.actor import Actor
from services.access.audit import AuditLog
from services.access.permission_service import PermissionService
from services.actions.catalogue import Catalogue
from services.actions.core_pack import CORE_ACTIONS
from services.registry.caller import Caller
from services.registry.registry import Needs, Registry, build
from services.registry.workflows import Document

ROOT = Path(__file__).parents[3]


class Clock:
    """A monotonic clock that only moves when it is told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def packs_dir(tmp_path: Path) -> Path:
    place = tmp_path / "packs"
    place.mkdir()
    return place


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry(db: AsyncDAL, packs_dir: Path, clock: Clock) -> Registry:
    ticks = itertools.count()
    audit = AuditLog(db, now=lambda: datetime.now(UTC))
    needs = Needs(
        db=db,
        audit=audit,
        permissions=PermissionService(db, audit=audit),
        catalogue=Catalogue(CORE_ACTIONS),
        packs_dir=packs_dir,
        now=lambda: datetime(2026, 1, 17, 12, tzinfo=UTC) + timedelta(microseconds=next(ticks)),
        clock=clock,
    )
    built = build(needs)
    await built.start()
    for number, name in enumerate(("root", "alice", "bob"), 1):
        person = {"id": number, "name": name, "is_admin": number == 1, "is_active": True, "created": needs.now()}
        await db.app_user.insert(**person)
    await built.packs.create({"ref": "slack", "label": "Slack", "version": "1.0.0"}, ADMIN)
    return built


ADMIN = Caller(actor=Actor(user_id=1, is_admin=True, name="admin"), request_id="test")
ALICE = Caller(actor=Actor(user_id=2, name="alice"), request_id="test")
BOB = Caller(actor=Actor(user_id=3, name="bob"), request_id="test")

NOTIFY = {"tasks": [{"name": "notify_team", "action": "slack.post_message", "input": {"channel": "#incidents"}}]}
QUIET = {"version": 1.0, "tasks": {"start": {"action": "core.noop"}}}


def body(ref: str = "slack.incident_workflow", **fields) -> dict:
    """A valid body of POST /workflows."""
    made = {
        "ref": ref,
        "pack_ref": ref.partition(".")[0],
        "label": "Incident Response Workflow",
        "version": "1.0.0",
        "definition": QUIET,
    }
    return made | fields


async def create(registry: Registry, ref: str = "slack.incident_workflow", by: Caller = ADMIN, **fields):
    """Register a workflow."""
    return await registry.workflows.create(Document(value=body(ref, **fields)), by)


async def refs(registry: Registry, caller: Caller = ADMIN, **filters) -> list[str]:
    """The refs a caller sees, newest first."""
    listed = await registry.workflows.page(caller, Filters(**filters), Window(count=100))
    return [row.ref for row in listed.rows]
