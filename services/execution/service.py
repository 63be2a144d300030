"""The execution side of the server, put together: what is built once, started once and stopped once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from services.access.audit import AuditLog
from services.access.permission_service import PermissionService
from services.actions.builtin import BUILTINS
from services.actions.catalogue import Catalogue, Runner
from services.actions.code import CodeRules, CodeRunner
from services.actions.declared import DeclaredHttp
from services.actions.http import HttpRunner
from services.actions.patience import Patience
from services.actions.runners import Perform, RunnerOf, Runners
from services.actions.secrets import Secrets
from services.engine.graph import Limits
from services.errors import Unavailable
from services.execution.attempts import Attempts
from services.execution.controls import Controls
from services.execution.deciding import Decider
from services.execution.dispatch.embedded import Dispatcher
from services.execution.dispatch.pgqueuer import Consumer
from services.execution.dispatch.pgqueuer_news import Listener
from services.execution.dispatch.rules import Rules
from services.execution.driver import Tools
from services.execution.dry_run import DryRun
from services.execution.evaluator import ExpressionWorker, WorkerEvaluator
from services.execution.family import Family
from services.execution.file_lock import FileLock
from services.execution.inquiries import Inquiries
from services.execution.journal import Journal
from services.execution.known_actions import KnownActions
from services.execution.library import Library
from services.execution.lifecycle import Lifecycle
from services.execution.operator import Operator
from services.execution.pause_all import PauseAll
from services.execution.rerun import Rerun
from services.execution.starting import ENGINE_VERSION, Parallel, Starter
from services.execution.stream import Streams, Tidings
from services.execution.telemetry import Telemetry
from services.execution.waiting import Waiters
from services.execution.worker import Worker
from services.idempotency import Idempotency
from services.registry.versions import Versions

log = logging.getLogger("millrace.execution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the execution side is built from. `lock`: the file whose lock gives the right to drive (SQLite only)."""

    db: Any
    versions: Versions
    catalogue: Catalogue
    permissions: PermissionService
    idempotency: Idempotency
    audit: AuditLog
    expressions: ExpressionWorker
    now: Callable[[], datetime]
    version: str
    limits: Limits = field(default_factory=Limits)
    parallel: Parallel = field(default_factory=Parallel)
    rules: Rules = field(default_factory=Rules)
    lock: Path | None = None
    http_allow_hosts: tuple[str, ...] = ()
    secrets_dir: Path | None = None
    code: CodeRules = field(default_factory=CodeRules)
    builtins: Mapping[str, Perform] = field(default_factory=dict)
    runners: Mapping[Runner, RunnerOf] = field(default_factory=dict)
    telemetry: Telemetry = field(default_factory=Telemetry)


def _opened(allow_hosts: tuple[str, ...]) -> Any:
    from services.actions.guarded_client import open_client  # heavy, and not every workflow calls somebody

    return open_client(allow_hosts)


class Execution:
    """Everything about executions. `start` before the first request, `stop` after the last."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.waiters = Waiters()
        self.tidings = Tidings()
        self.http = HttpRunner(partial(_opened, needs.http_allow_hosts), max_bytes=needs.limits.max_result_bytes)
        self.secrets = Secrets(needs.secrets_dir)
        self.known_actions = KnownActions(needs.db, needs.catalogue, needs.permissions, code_refused=needs.code.refused)
        self.runners = self._runners()
        self.journal = Journal(needs.db, needs.telemetry)
        needs.telemetry.read_with(self.journal.rows)
        self.library = Library(needs.db, self.journal, needs.versions)
        self.starter = self._starter(needs)
        self.family = Family(
            library=self.library,
            starter=self.starter,
            permissions=needs.permissions,
            now=needs.now,
            telemetry=needs.telemetry,
        )
        self.decider = Decider(WorkerEvaluator(needs.expressions, self.known_actions), self.family)
        self.starter.decider = self.decider
        self.controls = Controls(
            library=self.library,
            journal=self.journal,
            decider=self.decider,
            family=self.family,
            tidings=self.tidings,
            now=needs.now,
        )
        self.family.controls = self.controls
        self.pause_all = PauseAll(needs.db, audit=needs.audit, now=needs.now)
        self.worker = Worker(needs.db, version=needs.version, engine_version=ENGINE_VERSION)
        self._dispatcher: Dispatcher | None = None
        self._lifecycle: Lifecycle | None = None
        self._rerun: Rerun | None = None
        self._inquiries: Inquiries | None = None
        self._operator: Operator | None = None
        self.dry_run = DryRun(
            versions=needs.versions,
            starter=self.starter,
            decider=self.decider,
            runners=self.runners,
            catalogue=needs.catalogue,
            secrets=self.secrets,
            now=needs.now,
        )
        self.streams = Streams(journal=self.journal, library=self.library, tidings=self.tidings)
        self._lock = FileLock(needs.lock) if needs.lock is not None else None
        self._serving: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()

    def _runners(self) -> Runners:
        """What performs actions: built-in ones by name, and a runner for each other kind."""
        needs, patience = self.needs, Patience(self.needs.db, self.needs.now)
        builtins = {
            **BUILTINS,
            "http": self.http.perform,
            "sleep": patience.sleep,
            "wait": patience.sleep,
            "wait_for_run": patience.wait_for_run,
            **needs.builtins,
        }
        config, most = self.known_actions.config, needs.limits.max_result_bytes
        code = CodeRunner(
            needs.code, secrets=self.secrets, config=config, max_bytes=most, is_ours=lambda: self.worker.is_fresh
        )
        others: dict[Runner, RunnerOf] = {
            Runner.HTTP: DeclaredHttp(self.http, secrets=self.secrets, config=config),
            Runner.PYTHON: code,
            Runner.SHELL: code,
            **needs.runners,
        }
        return Runners(needs.catalogue, builtins=builtins, others=others, scrub=self.secrets.scrub)

    def _starter(self, needs: Needs) -> Starter:
        return Starter(journal=self.journal, actions=self.known_actions, limits=needs.limits, parallel=needs.parallel)

    def reserve(self) -> None:
        """Take the right to drive this SQLite file, before anything is read or written. Raises DatabaseLocked."""
        if self._lock is not None:
            self._lock.take()

    async def start(self) -> None:
        """Become a worker. Raises DatabaseLocked when another process drives this SQLite file."""
        self.reserve()
        if self.needs.rules.drives:
            await self.worker.arrive()
        await self.pause_all.refresh()
        ready = asyncio.get_running_loop().create_future()
        self._serving = asyncio.get_running_loop().create_task(self._serve(ready))  # owned here, awaited in stop()
        await asyncio.wait([ready, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            self._serving.result()

    async def _serve(self, ready: asyncio.Future[None]) -> None:
        """The owner of every task that drives."""
        async with asyncio.TaskGroup() as tasks:
            dispatcher = self._assemble(tasks)
            consumer = Consumer(self.needs.db, dispatcher) if self._queued and self.needs.rules.drives else None
            background = [tasks.create_task(work) for work in self._background(dispatcher, consumer)]
            ready.set_result(None)
            await self._leaving.wait()
            self.tidings.release()
            if consumer is not None:
                consumer.close()
            await dispatcher.drain()
            if consumer is not None:
                await consumer.left()
            self.waiters.release()
            for task in background:
                task.cancel()

    @property
    def _queued(self) -> bool:
        return bool(self.needs.db.engine == "postgres")

    def _background(self, dispatcher: Dispatcher, consumer: Consumer | None) -> Iterator[Coroutine[Any, Any, None]]:
        """What runs as long as this process does."""
        yield dispatcher.sweep_for_ever()
        if self.needs.rules.drives:
            yield self.worker.beat_for_ever()
        if self._queued and self.needs.rules.listens:
            yield Listener(self.needs.db, dispatcher).listen_for_ever()
        if consumer is not None:
            yield consumer.consume_for_ever()

    def _assemble(self, tasks: asyncio.TaskGroup) -> Dispatcher:
        needs = self.needs
        tools = Tools(
            journal=self.journal,
            decider=self.decider,
            attempts=Attempts(self.runners, self.secrets, needs.now, needs.telemetry),
            family=self.family,
            worker=self.worker,
            tidings=self.tidings,
            pause=self.pause_all,
            tasks=tasks,
            now=needs.now,
        )
        rules = replace(needs.rules, queued=self._queued, per_key=needs.parallel.per_key)
        dispatcher = Dispatcher(tools, self.waiters, rules, needs.telemetry)
        self.family.herald = self._dispatcher = dispatcher
        self._lifecycle = Lifecycle(
            library=self.library,
            journal=self.journal,
            starter=self.starter,
            controls=self.controls,
            permissions=needs.permissions,
            idempotency=needs.idempotency,
            audit=needs.audit,
            waiters=self.waiters,
            dispatcher=dispatcher,
            now=needs.now,
        )
        self._rerun = Rerun(self._lifecycle)
        self._inquiries = Inquiries(self._lifecycle)
        self._operator = Operator(self._lifecycle)
        return dispatcher

    @property
    def lifecycle(self) -> Lifecycle:
        """Starting, reading and steering. Raises Unavailable until the database is there."""
        if self._lifecycle is None:
            raise Unavailable("The server is not connected to its database yet")
        return self._lifecycle

    @property
    def rerun(self) -> Rerun:
        """Running again. Raises Unavailable until the database is there."""
        if self._rerun is None:
            raise Unavailable("The server is not connected to its database yet")
        return self._rerun

    @property
    def inquiries(self) -> Inquiries:
        """Questions to people. Raises Unavailable until the database is there."""
        if self._inquiries is None:
            raise Unavailable("The server is not connected to its database yet")
        return self._inquiries

    @property
    def operator(self) -> Operator:
        """What operators do. Raises Unavailable until the database is there."""
        if self._operator is None:
            raise Unavailable("The server is not connected to its database yet")
        return self._operator

    @property
    def driving(self) -> int:
        """How many executions this process drives now."""
        return 0 if self._dispatcher is None else self._dispatcher.driving

    @property
    def is_alive(self) -> bool:
        """Whether executions are being driven; for readiness."""
        return self._serving is not None and not self._serving.done()

    def listens_at(self, address: str) -> None:
        """Say in the lock file where requests are answered, for commands on this machine."""
        if self._lock is not None:
            self._lock.note(address)

    async def stop(self) -> None:
        """Hand everything back and be gone."""
        if self._serving is not None:
            self._leaving.set()
            await self._serving
            if self.needs.rules.drives:
                await self.worker.leave()
        await self.http.close()
        await self.needs.expressions.stop()
        if self._lock is not None:
            self._lock.release()
