"""The run history as the rest of the product sees it: log, list, read, search, with permissions applied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from models import aftermath, outbox, run_access, runs
from models.records import Flag, RunStatus
from models.run_facts import RunFilter
from models.run_stats import days
from models.runs import Payloads, Position, RunSummary, WorkflowRuns
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.access.permission_service import PermissionService
from services.errors import Conflict, Denied, MillraceError, RunNotFound, WorkflowNotFound
from services.history import node_stats
from services.history.index_round import EMBED
from services.history.log_round import INDEX, Report
from services.history.record import Run
from services.history.registered import Find, Registered, Remembered
from services.history.runs import RunLog, Target
from services.history.search import Answer, RunSearch
from services.history.stats import summary
from services.history.visibility import Visibility, communities_of

COUNTED = 10_000
"""Rows that are counted for a total when no counter knows it."""


Details = Callable[[UUID], Awaitable[Payloads | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a list: `count` rows, after a position or after skipping some."""

    count: int
    skip: int = 0
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Part of a list. `next` continues it; `capped`: the total is at least that many."""

    rows: list[RunSummary]
    total: int
    next: Position | None
    capped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """What became of one report: logged, updated, or rejected with the error."""

    run_id: str
    status: str
    id: UUID | None = None
    error: MillraceError | None = None


class History:
    """Every run of every runner."""

    def __init__(self, db: Any, log: RunLog, search: RunSearch, *, permissions: PermissionService, find: Find) -> None:
        """`find` names the registered workflow and the version an identifier means."""
        self._db, self._log, self._search = db, log, search
        self._now, self._audit = log.now, AuditLog(db, now=log.now)
        self._permissions, self._found = permissions, find
        self._remembered = Remembered(find)
        self._visibility = Visibility(db, permissions)
        self.details: Details = _no_details

    # ---- writing ----

    async def log(self, actor: Actor, reported: Sequence[Run]) -> list[LoggedRun]:
        """Log runs; each has its own outcome, in order. On return the logged ones are durable."""
        outcomes: list[LoggedRun] = []
        reports, places = [], []
        for place, run in enumerate(reported):
            try:
                target = await self._target(actor, run)
                community = self._community(actor, run, target)
            except MillraceError as error:
                outcomes.append(LoggedRun(run_id=run.run_id, status="rejected", error=error))
                continue
            reports.append(self._log.report(run, source="langgraph", target=target, community_id=community))
            places.append(place)
            outcomes.append(LoggedRun(run_id=run.run_id, status="logged"))
        if not reports:
            return outcomes
        entry = _logged(actor, reports)
        done = await self._log.submit(reports, record=self._audit.bulk(entry))
        say(entry)
        for place, logged in zip(places, done, strict=True):
            status = "logged" if logged.new else "updated"
            outcomes[place] = replace(outcomes[place], id=logged.id, status=status)
        return outcomes

    async def notify(self, actor: Actor, identifier: str, run: Run) -> None:
        """Note a run of a registered workflow; WorkflowNotFound when there is none, Denied without can_execute."""
        workflow = await self._find(identifier)
        if workflow is None:
            raise WorkflowNotFound(workflow=identifier)
        await self._permissions.require(actor, workflow, Flag.EXECUTE, called=identifier, community_id=run.community_id)
        run = replace(run, wpk_id=workflow.package_id)
        report = self._log.report(run, source="notify", target=_target(workflow))
        entry = _logged(actor, [report])
        await self._log.submit([report], record=self._audit.bulk(entry))
        say(entry)

    async def _target(self, actor: Actor, run: Run) -> Target | None:
        workflow = await self._remembered(run.wpk_id)
        if workflow is None:
            return None
        await self._permissions.require(actor, workflow, Flag.EXECUTE, called=run.wpk_id, community_id=run.community_id)
        return _target(workflow)

    @staticmethod
    def _community(actor: Actor, run: Run, target: Target | None) -> int | None:
        if target is not None:
            return target.community_id
        community = actor.community_id if run.community_id is None else run.community_id
        if community is None or (actor.is_admin and actor.community_id in (None, community)):
            return community
        if community not in communities_of(actor):
            raise Denied(f"You are not a member of community {community}", community_id=community)
        return community

    async def pin(self, actor: Actor, run: RunSummary, *, pinned: bool) -> RunSummary:
        """Keep a run for ever, or no longer. Denied without can_execute on its workflow."""
        if run.workflow_id is not None:
            workflow = await self._find(str(run.workflow_id))
            if workflow is not None:
                await self._permissions.require(actor, workflow, Flag.EXECUTE, called=run.wpk_id)
        entry = Entry(
            category=Category.AUDIT,
            action="pin_run" if pinned else "unpin_run",
            result=Result.SUCCESS,
            actor=actor,
            community_id=run.community_id,
            workflow_id=run.workflow_id,
            resource=f"run:{run.id}",
        )
        await self._db.batch(runs.pin(self._db, run.id, pinned=pinned), self._audit.call(entry))
        say(entry)
        return replace(run, pinned=pinned)

    # ---- the work behind it ----

    async def outbox(self) -> dict[str, Any]:
        """How much indexing and embedding waits, and what was given up."""
        backlogs = {kind: await outbox.backlog(self._db, kind) for kind in (INDEX, EMBED)}
        return {
            "waiting": {kind: backlog.waiting for kind, backlog in backlogs.items()},
            "dead": {kind: backlog.dead for kind, backlog in backlogs.items()},
            "given_up": await outbox.dead(self._db, count=100),
        }

    async def retry_outbox(self, *, by: Actor) -> int:
        """Try again what was given up; how much."""
        entry = Entry(category=Category.AUDIT, action="retry_outbox", result=Result.SUCCESS, actor=by)
        revived = [outbox.revive(self._db, kind, now=self._now()) for kind in (INDEX, EMBED)]
        done = await self._db.batch(*revived, self._audit.call(entry))
        say(entry)
        return sum(done[: len(revived)])

    # ---- reading ----

    async def of_workflow(
        self, actor: Actor, identifier: str, wanted: RunFilter, window: Window, *, community_id: int | None = None
    ) -> Page:
        """The runs of one workflow, registered or only logged, newest first; WorkflowNotFound when there is neither."""
        scope = await self._scope(actor, identifier, community_id)
        asked = replace(scope.runs, status=wanted.status, since=wanted.since, until=wanted.until)
        rows = await runs.workflow_page(self._db, asked, after=window.after, skip=window.skip, count=window.count + 1)
        timed = wanted.since is not None or wanted.until is not None
        if timed:
            total = await runs.workflow_count(self._db, asked, cap=COUNTED)
        else:
            total = await runs.workflow_total(self._db, asked)
        if not rows and not scope.visible and not await runs.workflow_total(self._db, scope.runs):
            raise scope.missing(identifier)
        return _page(rows, window.count, total, capped=timed and total >= COUNTED)

    async def all(self, actor: Actor, wanted: RunFilter, window: Window) -> Page:
        """All runs the caller may see, newest first."""
        visible = replace(wanted, visible=await self._visibility.of(actor))
        rows, stopped = await runs.page(self._db, visible, after=window.after, count=window.count + 1)
        total = await runs.count(self._db, visible, cap=COUNTED)
        page = _page(rows, window.count, total, capped=total >= COUNTED)
        return page if stopped is None else replace(page, next=stopped)

    async def get(
        self, actor: Actor, identifier: str, wpk_id: str | None = None, *, community_id: int | None = None
    ) -> RunSummary:
        """One run by our id or its client's. Conflict lists the candidates when several workflows use the id."""
        found = await self._candidates(identifier, wpk_id)
        meant = found if community_id is None else [run for run in found if run.community_id in (None, community_id)]
        mine = [run for run in meant if await self._visibility.sees(actor, run)]
        if not mine:
            missing = RunNotFound(run=identifier)
            raise missing.denying("the run is not for this caller") if found else missing
        if len(mine) > 1:
            candidates = [{"id": str(run.id), "wpk_id": run.wpk_id, "community_id": run.community_id} for run in mine]
            raise Conflict(
                f"{len(mine)} runs are called {identifier}; name one by its id or with wpk_id", candidates=candidates
            )
        return mine[0]

    async def payloads(self, run: RunSummary) -> Payloads:
        """What a run was given, answered, and what its nodes did."""
        found = None
        if run.source == "engine":
            found = await self.details(UUID(run.run_id))
        found = found or await runs.payloads(self._db, run.id)
        return found or Payloads(inputs=None, outputs=None, node_logs=None)

    # ---- finding ----

    async def search(self, actor: Actor, question: str, wanted: RunFilter, *, k: int) -> Answer:
        """Runs that say something like the question."""
        visible = replace(wanted, visible=await self._visibility.of(actor))
        return await self._search.search(question, visible, k=k)

    async def similar(self, actor: Actor, run: RunSummary, *, k: int) -> tuple[Answer, dict[UUID, RunSummary]]:
        """The nearest runs; and for each failed one, the success that came after it."""
        answer = await self._search.similar(run, RunFilter(visible=await self._visibility.of(actor)), k=k)
        after: dict[UUID, RunSummary] = {}
        for found in answer.found:
            if found.run.status == RunStatus.FAILED and (later := await self.success_after(actor, found.run)):
                after[found.run.id] = later
        return answer, after

    async def success_after(self, actor: Actor, run: RunSummary) -> RunSummary | None:
        """The re-run that succeeded, else the next success of the same workflow, if the caller may see it."""
        later = await aftermath.rerun_success(self._db, run) if run.source == "engine" else None
        later = later or await aftermath.next_success(self._db, run)
        return later if later is not None and await self._visibility.sees(actor, later) else None

    async def differences(self, failed: RunSummary, later: RunSummary) -> list[str]:
        """What was different the time it succeeded: `input`, `version`, or nothing that we know of."""
        before, after = await self.payloads(failed), await self.payloads(later)
        found = ["input"] if before.inputs != after.inputs else []
        return [*found, "version"] if failed.workflow_version != later.workflow_version else found

    async def stats(
        self, actor: Actor, identifier: str, *, since: datetime, community_id: int | None = None
    ) -> dict[str, Any]:
        """Figures of a workflow's runs since a day; WorkflowNotFound when there is none to see."""
        scope = await self._scope(actor, identifier, community_id)
        found = await days(self._db, scope.runs, since=since.date().isoformat())
        if not found and not scope.visible:
            raise scope.missing(identifier)
        return {**summary(found), "nodes": await node_stats.of_workflow(self._db, scope.runs)}

    # ---- who may see what ----

    async def _find(self, identifier: str) -> Registered | None:
        found = await self._found(identifier)
        return None if found is None else found.workflow

    async def _candidates(self, identifier: str, wpk_id: str | None) -> list[RunSummary]:
        try:
            by_row = await runs.by_id(self._db, UUID(identifier))
        except ValueError:
            by_row = None
        if by_row is not None:
            return [by_row]
        return await runs.by_run_id(self._db, identifier, wpk_id)

    async def _scope(self, actor: Actor, identifier: str, community_id: int | None) -> _Scope:
        found = await self._found(identifier, removed=True)  # its runs stay readable
        workflow = None if found is None else found.workflow
        if workflow is not None and community_id is not None and workflow.community_id not in (None, community_id):
            raise WorkflowNotFound(workflow=identifier).denying(f"the workflow is not of community {community_id}")
        reach = await self._visibility.reach(actor, workflow)
        packages = [identifier]
        if found is not None and (named := found.package_named(identifier)) is not None:
            packages = [named]
        elif workflow is not None:
            packages = list({workflow.package_id: 0, **dict.fromkeys(await run_access.packages(self._db, workflow.id))})
        home = 0 if workflow is None else workflow.community_id or 0
        visible = workflow is not None and (reach.communities is None or home in reach.communities)
        runs_ = WorkflowRuns(packages=packages, communities=reach.communities)
        return _Scope(runs=runs_, visible=visible, registered=workflow is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """Which runs an identifier means for a caller, and whether they may know the workflow itself."""

    runs: WorkflowRuns
    visible: bool
    registered: bool

    def missing(self, identifier: str) -> WorkflowNotFound:
        """What to say when there is nothing to see."""
        error = WorkflowNotFound(workflow=identifier)
        return error.denying("no can_view for this caller") if self.registered else error


def _target(workflow: Registered) -> Target:
    return Target(workflow_id=workflow.id, version=workflow.version, community_id=workflow.community_id)


def _logged(actor: Actor, reports: Sequence[Report]) -> Entry:
    """One row for a request, however many runs it brings."""
    first = reports[0]
    return Entry(
        category=Category.AUDIT,
        action="log_run",
        result=Result.SUCCESS,
        actor=actor,
        community_id=first.community_id,
        workflow_id=first.workflow_id,
        resource=first.run.wpk_id,
        details={"run_id": first.run.run_id, "status": str(first.run.canonical), "runs": len(reports)},
    )


def _page(rows: list[RunSummary], count: int, total: int, *, capped: bool) -> Page:
    shown = rows[:count]
    following = shown[-1].position if len(rows) > count else None
    return Page(rows=shown, total=total, next=following, capped=capped)


async def _no_details(_execution: UUID) -> Payloads | None:
    return None
