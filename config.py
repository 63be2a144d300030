"""The settings of the server: one frozen object, read once from the environment, complaining once.

Only this module sees the environment and only `app.py` sees `Settings`.
`docs/reference/settings.md` is generated from the declarations below (`make docs`); a test fails when it is stale.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.formats.environment import (
    CODE,
    HOSTS,
    KEY,
    KIB,
    MIB,
    NETWORKS,
    PAIRS,
    PATH,
    POSTGRES,
    PUBLIC,
    SHARE,
    TEXT,
    WEB_URL,
    WORD,
    Kind,
    Network,
    Variable,
    is_loopback,
    one_of,
    size,
    whole,
)
from services.variables import find

VERSION = "0.1.0"
SAMPLERS = tuple(f"{who}{what}" for who in ("parentbased_", "") for what in ("always_on", "always_off", "traceidratio"))


class SettingsError(Exception):
    """Some environment variables are not usable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["The settings are not usable:", *(f"  {problem}" for problem in problems)]))
        self.problems = problems


def _env(name: str, kind: Kind, default: Any, text: str, **more: Any) -> Any:
    group = more.pop("group")
    return field(default=default, metadata={"variable": Variable(name, kind, text, group, **more)})


def _server(name: str, kind: Kind, default: Any, text: str, **more: Any) -> Any:
    return _env(name, kind, default, text, group="Server", **more)


def _access(name: str, kind: Kind, default: Any, text: str, **more: Any) -> Any:
    return _env(name, kind, default, text, group="Access and limits of requests", **more)


def _limit(name: str, kind: Kind, default: Any, text: str) -> Any:
    return _env(name, kind, default, text, group="Limits of one execution")


def _work(name: str, kind: Kind, default: Any, text: str) -> Any:
    return _env(name, kind, default, text, group="How much at once")


def _kept(name: str, kind: Kind, default: Any, text: str) -> Any:
    return _env(name, kind, default, text, group="Retention")


def _neighbour(name: str, kind: Kind, default: Any, text: str, **more: Any) -> Any:
    return _env(name, kind, default, text, group="Other systems", **more)


def _trace(name: str, kind: Kind, default: Any, text: str, **more: Any) -> Any:
    return _env(name, kind, default, text, group="Traces", **more)


# ---- the settings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the operator decides. Secrets are left out of `repr`."""

    host: str = _server("HOST", TEXT, "127.0.0.1", "Address to listen on.")
    port: int = _server("PORT", whole(0, 65535), 8070, "Port to listen on; 0 takes a free one and says which.")
    worker_port: int = _server(
        "WORKER_PORT",
        whole(0, 65535),
        8071,
        "Port on which `millrace worker` answers for its health and metrics; 0 takes a free one and says which.",
    )
    data_dir: Path = _server(
        "DATA_DIR", PATH, Path("data"), "Folder of the SQLite database and of everything kept beside it."
    )
    postgres_dsn: str | None = _server(
        "POSTGRES_DSN",
        POSTGRES,
        None,
        "PostgreSQL database. When set it is used, reachable or not; without it SQLite in `DATA_DIR` is used.",
        aliases=("DATABASE_URL",),
        secret=True,
        shown="SQLite",
    )
    database_connections: int = _server(
        "DATABASE_CONNECTIONS", whole(2, 500), 12, "PostgreSQL connections per process."
    )
    packs_dir: Path = _server("PACKS_DIR", PATH, Path("packs"), "Folder of the packs, one folder each.")
    secrets_dir: Path | None = _server(
        "SECRETS_DIR", PATH, None, "Folder of the secrets workflows may use, one file each."
    )
    shutdown_seconds: int = _server(
        "SHUTDOWN_SECONDS", whole(0, 3600), 20, "Time running work gets when the server stops."
    )
    log_level: str = _server(
        "LOG_LEVEL", one_of("debug", "info", "warning", "error"), "info", "Least severe level that is logged."
    )
    log_format: str = _server("LOG_FORMAT", one_of("aaa", "json"), "aaa", "Form of a log line.")
    log_module: str = _server("LOG_MODULE", WORD, "millrace", "Module name in log lines.")

    admin_key: str | None = _access(
        "MILLRACE_ADMIN_KEY",
        KEY,
        None,
        "The first admin key of an empty database. Without it one is made and printed once.",
        secret=True,
        shown="made at the first start",
    )
    key_pepper: str | None = _access(
        "KEY_PEPPER",
        KEY,
        None,
        "Server secret mixed into the stored hash of every API key. Changing it ends all keys.",
        secret=True,
    )
    public_reads: str = _access(
        "PUBLIC_READS",
        PUBLIC,
        "off",
        "Whether run lists, signals and probes may be read without a key (rows of no community, 60 a minute).",
        shown="`local` (direct callers only) while HOST is loopback, else `off`",
    )
    rate_limit_per_minute: int = _access(
        "RATE_LIMIT_PER_MINUTE", whole(0, 10_000_000), 6000, "Requests a key may make in a minute; 0 = no limit."
    )
    max_body_bytes: int = _access(
        "MAX_BODY_BYTES", size(KIB, 1024 * MIB), MIB, "Largest request body (logging runs has 16 MiB of its own)."
    )
    trusted_proxies: tuple[Network, ...] = _access(
        "TRUSTED_PROXIES",
        NETWORKS,
        (),
        "Reverse proxies whose X-Forwarded-For is believed.",
        shown="none",
    )
    http_allow_hosts: tuple[str, ...] = _access(
        "HTTP_ALLOW_HOSTS",
        HOSTS,
        (),
        "Private hosts that HTTP actions may call; public hosts need no entry.",
        shown="none",
    )
    allow_code_actions: str = _access(
        "ALLOW_CODE_ACTIONS",
        CODE,
        "off",
        "Whether packs may run Python and shell files; `sandboxed`: only where a sandbox works.",
    )
    code_parallel: int = _access(
        "CODE_PARALLEL", whole(1, 1000), 4, "Python and shell actions that a process runs at once; others wait."
    )
    code_cpu_seconds: int = _access(
        "CODE_CPU_SECONDS", whole(1, 86_400), 60, "CPU time of each process of a Python or shell action."
    )
    code_memory_bytes: int = _access(
        "CODE_MEMORY_BYTES",
        size(64 * MIB, 2**40),
        512 * MIB,
        "Address space of each process of a Python or shell action.",
    )

    max_parallel_executions: int = _work(
        "MAX_PARALLEL_EXECUTIONS",
        whole(0, 1_000_000),
        0,
        "Executions of one workflow driven at once by all workers together; 0 = any number. Waiting ones do not count.",
    )
    max_parallel_executions_per_key: int = _work(
        "MAX_PARALLEL_EXECUTIONS_PER_KEY",
        whole(0, 1_000_000),
        0,
        "Executions started with one API key driven at once by all workers together; 0 = any number.",
    )
    max_queued_executions: int = _work(
        "MAX_QUEUED_EXECUTIONS",
        whole(0, 100_000_000),
        100_000,
        "Executions that are ready and that no worker drives, from which on a start is answered with 503; 0 = any number.",
    )
    max_requests: int = _work(
        "MAX_REQUESTS", whole(1, 100_000), 256, "Requests one process works on at once; more are answered with 503."
    )
    max_waiting_requests: int = _work(
        "MAX_WAITING_REQUESTS",
        whole(0, 100_000),
        256,
        "Requests with `wait` and live event streams of one process at once; more are answered with 503.",
    )
    max_connections: int = _work(
        "MAX_CONNECTIONS", whole(1, 1_000_000), 2000, "Connections one process keeps open; more are answered with 503."
    )
    worker_slots: int = _work("WORKER_SLOTS", whole(1, 100_000), 512, "Executions that one process drives at once.")

    workflow_timeout_seconds: int = _limit(
        "WORKFLOW_TIMEOUT_SECONDS",
        whole(1, 31_536_000),
        300,
        "Running time of one execution; waiting for people and timers does not count.",
    )
    max_loop_iterations: int = _limit("MAX_LOOP_ITERATIONS", whole(1, 1_000_000), 100, "Runs of one task on one route.")
    max_total_operations: int = _limit(
        "MAX_TOTAL_OPERATIONS", whole(1, 10_000_000), 1000, "Task runs; an item list counts once."
    )
    max_items: int = _limit("MAX_ITEMS", whole(1, 10_000_000), 10_000, "Items of one task.")
    max_loop_depth: int = _limit("MAX_LOOP_DEPTH", whole(1, 100), 10, "Nested sub-workflows and loops.")
    max_parallel_nodes: int = _limit("MAX_PARALLEL_NODES", whole(1, 10_000), 10, "Actions of one execution in flight.")
    max_context_bytes: int = _limit(
        "MAX_CONTEXT_BYTES", size(KIB, 1024 * MIB), 8 * MIB, "All variables of one execution."
    )
    max_result_bytes: int = _limit("MAX_RESULT_BYTES", size(KIB, 1024 * MIB), 4 * MIB, "Result of one task.")

    retention_success_days: int = _kept(
        "RETENTION_SUCCESS_DAYS", whole(0, 36_500), 30, "Days that completed runs are kept; 0 = for ever."
    )
    retention_failure_days: int = _kept(
        "RETENTION_FAILURE_DAYS", whole(0, 36_500), 90, "Days that failed and cancelled runs are kept; 0 = for ever."
    )
    retention_runs_per_workflow: int = _kept(
        "RETENTION_RUNS_PER_WORKFLOW", whole(0, 1_000_000_000), 0, "Newest runs kept of each workflow; 0 = all."
    )
    retention_max_bytes: int = _kept(
        "RETENTION_MAX_BYTES", size(0, 2**60), 0, "Size of the database above which the oldest runs go; 0 = any."
    )
    retention_signal_days: int = _kept(
        "RETENTION_SIGNAL_DAYS", whole(0, 36_500), 90, "Days that signals nobody judged are kept; 0 = for ever."
    )
    retention_audit_days: int = _kept(
        "RETENTION_AUDIT_DAYS", whole(0, 36_500), 365, "Days that the audit record is kept; 0 = for ever."
    )

    prom_url: str | None = _neighbour(
        "PROM_URL", WEB_URL, None, "Prometheus server that probes ask.", shown="the server's own metrics only"
    )
    prom_authorization: str | None = _neighbour(
        "PROM_AUTHORIZATION", TEXT, None, "Authorization header sent to Prometheus, like `Bearer …`.", secret=True
    )
    embeddings: str = _neighbour(
        "EMBEDDINGS",
        one_of("auto", "on", "off"),
        "auto",
        "`auto`: on when `OPENAI_KEY` or `OPENAI_BASE_URL` is set; `on` also accepts `OPENAI_API_KEY`.",
    )
    openai_key: str | None = _neighbour(
        "OPENAI_KEY", TEXT, None, "Key for embeddings. `OPENAI_API_KEY` counts only with `EMBEDDINGS=on`.", secret=True
    )
    openai_base_url: str | None = _neighbour(
        "OPENAI_BASE_URL", WEB_URL, None, "Another server that speaks the OpenAI embeddings API."
    )
    embedding_model: str = _neighbour("EMBEDDING_MODEL", TEXT, "text-embedding-3-small", "Model asked for embeddings.")
    milvus_endpoint: str | None = _neighbour(
        "MILVUS_ENDPOINT", TEXT, None, "Milvus: a URI, `host:port` or a Milvus Lite file."
    )
    milvus_collection: str = _neighbour("MILVUS_COLLECTION", WORD, "workflow_runs", "Collection of the run vectors.")

    otel_endpoint: str | None = _trace(
        "OTEL_EXPORTER_OTLP_ENDPOINT", WEB_URL, None, "Collector of traces (OTLP over HTTP); `/v1/traces` is appended."
    )
    otel_traces_endpoint: str | None = _trace(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", WEB_URL, None, "The collector's whole address, used as it is."
    )
    otel_headers: tuple[tuple[str, str], ...] = _trace(
        "OTEL_EXPORTER_OTLP_HEADERS", PAIRS, (), "Headers sent to the collector.", secret=True, shown="none"
    )
    otel_protocol: str = _trace(
        "OTEL_EXPORTER_OTLP_PROTOCOL", one_of("http/protobuf"), "http/protobuf", "gRPC is not spoken."
    )
    otel_service_name: str = _trace("OTEL_SERVICE_NAME", TEXT, "millrace", "What the traces call this service.")
    otel_resource_attributes: tuple[tuple[str, str], ...] = _trace(
        "OTEL_RESOURCE_ATTRIBUTES", PAIRS, (), "What else every span says of this service.", shown="none"
    )
    otel_traces_sampler: str = _trace(
        "OTEL_TRACES_SAMPLER", one_of(*SAMPLERS), SAMPLERS[0], "Which traces are kept; `parentbased` heeds the caller."
    )
    otel_traces_sampler_arg: float = _trace(
        "OTEL_TRACES_SAMPLER_ARG", SHARE, 1.0, "The share that `traceidratio` keeps."
    )

    aliases_used: tuple[str, ...] = field(default=(), metadata={})

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in _public_values(self).items()]
        return f"Settings({', '.join(shown)})"

    @property
    def database_url(self) -> str:
        """PostgreSQL when it is set, else the SQLite file in the data folder."""
        return self.postgres_dsn or f"sqlite:///{self.data_dir / 'millrace.db'}"

    def make_data_dir(self) -> None:
        """Make the data folder where there is none, for this user alone. Raises `SettingsError` where none can be."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError([f"DATA_DIR: {self.data_dir} cannot be made: {error.strerror}"]) from error

    def require_folders(self) -> None:
        """Raises `SettingsError` naming the folders that a server cannot use; the data folder is made."""
        secrets = self.secrets_dir
        missing = [f"SECRETS_DIR: there is no folder {secrets}"] if secrets and not secrets.is_dir() else []
        try:
            self.make_data_dir()
        except SettingsError as error:
            missing += error.problems
        if missing:
            raise SettingsError(missing)

    @property
    def traces_url(self) -> str | None:
        """Where traces are sent; None: nowhere."""
        return self.otel_traces_endpoint or (f"{self.otel_endpoint}/v1/traces" if self.otel_endpoint else None)

    @property
    def embeddings_on(self) -> bool:
        """Whether run outputs are embedded at all."""
        return self.embeddings != "off" and bool(self.openai_key or self.openai_base_url)


def variables() -> dict[str, tuple[Variable, Any]]:
    """Field name → (its variable, its default), in the order of the documentation."""
    return {
        f.name: (f.metadata["variable"], f.default) for f in dataclasses.fields(Settings) if "variable" in f.metadata
    }


def _public_values(settings: Settings) -> dict[str, Any]:
    return {
        name: "(set)" if variable.secret and getattr(settings, name) else getattr(settings, name)
        for name, (variable, _) in variables().items()
    }


# ---- reading -------------------------------------------------------------------------------------------------------


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment.

    Raises `SettingsError` naming every variable that cannot be used, with what is allowed.
    """
    env = {name: text for name, text in (os.environ if environ is None else environ).items() if text.strip()}
    problems: list[str] = []
    notes: list[str] = []
    values: dict[str, Any] = {}
    for name, (variable, _) in variables().items():
        source, text = find(variable, env, notes, problems)
        if text is None:
            continue
        try:
            values[name] = variable.kind.parse(text)
        except (ValueError, KeyError):
            seen = "" if variable.secret else f" (is {text!r})"
            problems.append(f"{source} must be {variable.kind.allowed}{seen}")
    _settle_embeddings(values, env, notes, problems)
    values.setdefault("public_reads", "local" if is_loopback(values.get("host", "127.0.0.1")) else "off")
    if problems:
        raise SettingsError(problems)
    return Settings(**values, aliases_used=tuple(notes))


def _settle_embeddings(values: dict[str, Any], env: Mapping[str, str], notes: list[str], problems: list[str]) -> None:
    wanted = values.get("embeddings", "auto")
    other = env.get("OPENAI_API_KEY")
    if other and "openai_key" not in values:
        if wanted == "on":
            values["openai_key"] = other.strip()
            notes.append("OPENAI_API_KEY is used as OPENAI_KEY")
        else:
            notes.append("OPENAI_API_KEY is set and not used: set EMBEDDINGS=on or OPENAI_KEY to use it")
    if wanted == "on" and "openai_key" not in values and "openai_base_url" not in values:
        problems.append("EMBEDDINGS=on needs OPENAI_KEY, OPENAI_API_KEY or OPENAI_BASE_URL")
