"""The tables, declared once. `migrations/` creates them; `check_schema()` compares the two.

Types are those of `models.dal` (uuid, timestamptz, json, list:string …). Tables are grouped as the product is:
access, registry, execution, history, insight. Every column that a reader could misread carries a comment.
"""

from __future__ import annotations

from typing import Any

from pydal import Field

Columns = tuple[Any, ...]

ACCESS: dict[str, Columns] = {
    "app_user": (
        Field("id", "bigint"),
        Field("name", "string", notnull=True),
        Field("email", "string"),
        Field("is_admin", "boolean", notnull=True, default=False),
        Field("is_active", "boolean", notnull=True, default=True),
        Field("created", "timestamptz", notnull=True),
    ),
    "user_role": (
        Field("user_id", "bigint", notnull=True),
        Field("community_id", "bigint", notnull=True),
        Field("role", "string", notnull=True),
        Field("created", "timestamptz", notnull=True),
    ),
    "api_key": (
        Field("id", "uuid", notnull=True),
        Field("user_id", "bigint", notnull=True),
        Field("name", "string", notnull=True),
        Field("prefix", "string", notnull=True),  # visible beginning of the key, for people
        Field("hash", "string", notnull=True),  # SHA-256 or HMAC-SHA-256 with the pepper, hexadecimal
        Field("scopes", "list:string", notnull=True),  # empty = everything its user may do
        Field("community_id", "bigint"),  # limited to this community
        Field("created", "timestamptz", notnull=True),
        Field("expires_at", "timestamptz"),
        Field("revoked_at", "timestamptz"),
        Field("last_used_at", "timestamptz"),  # written at most once a minute
        Field("rotated_to", "uuid"),
    ),
    "audit_log": (
        Field("id", "uuid", notnull=True),
        Field("at", "timestamptz", notnull=True),
        Field("category", "string", notnull=True),  # AUTH AUTHZ AUDIT ERROR SYSTEM
        Field("action", "string", notnull=True),
        Field("result", "string", notnull=True),  # SUCCESS ALLOWED DENIED FAILURE
        Field("actor_id", "bigint"),
        Field("key_id", "uuid"),
        Field("community_id", "bigint"),
        Field("workflow_id", "uuid"),
        Field("resource", "string"),
        Field("reason", "string"),
        Field("request_id", "string"),
        Field("details", "json"),
        Field("chain_no", "bigint"),  # NULL until the sealer has chained the row
        Field("hash", "string"),
    ),
    "audit_anchor": (  # `head`: the end of the chain; `floor`: where retention has cut its beginning
        Field("name", "string", notnull=True),
        Field("chain_no", "bigint", notnull=True),
        Field("hash", "string", notnull=True),
    ),
    "idempotency_key": (
        Field("user_id", "bigint", notnull=True),
        Field("key", "string", notnull=True),
        Field("route", "string", notnull=True),  # method and path
        Field("body_hash", "string", notnull=True),
        Field("resource_id", "string", notnull=True),
        Field("created", "timestamptz", notnull=True),
    ),
}

REGISTRY: dict[str, Columns] = {
    "pack": (
        Field("id", "uuid", notnull=True),
        Field("ref", "string", notnull=True),
        Field("label", "string", notnull=True),
        Field("description", "text"),
        Field("version", "string", notnull=True),
        Field("config_schema", "json"),
        Field("config", "json"),
        Field("tags", "list:string", notnull=True),
        Field("source", "string", notnull=True),  # api, file
        Field("source_hash", "string"),  # over all files of the pack: equal = nothing to load
        Field("modified", "boolean", notnull=True, default=False),  # a request said otherwise than the manifest
        Field("workflow_count", "integer", notnull=True, default=0),  # living workflows; counted in their transactions
        Field("owner_id", "bigint"),
        Field("community_id", "bigint"),
        Field("change_no", "integer", notnull=True, default=1),  # one more with every change: the ETag
        *(Field(name, "timestamptz", notnull=True) for name in ("created", "updated")),
    ),
    "action": (
        Field("ref", "string", notnull=True),
        Field("pack_ref", "string", notnull=True),
        Field("spec", "json", notnull=True),  # the whole declaration, as read from the pack
        Field("updated", "timestamptz", notnull=True),
    ),
    "workflow": (
        Field("id", "uuid", notnull=True),
        Field("ref", "string", notnull=True),
        Field("package_id", "string", notnull=True),  # name-version, unique among the living
        Field("pack_ref", "string", notnull=True),
        Field("name", "string", notnull=True),
        Field("author", "string"),
        Field("label", "string", notnull=True),
        Field("description", "text"),
        Field("version", "string", notnull=True),
        Field("revision", "integer", notnull=True),
        Field("version_id", "uuid", notnull=True),  # the workflow_version row of that revision
        Field("change_no", "integer", notnull=True, default=1),  # one more with every change by a person: the ETag
        Field("tags", "list:string", notnull=True),
        Field("enabled", "boolean", notnull=True, default=True),
        Field("community_id", "bigint"),
        Field("owner_id", "bigint"),
        Field("source", "string", notnull=True),  # api, file
        Field("source_path", "string"),
        Field("source_hash", "string"),
        Field("modified", "boolean", notnull=True, default=False),  # file-loaded, then edited by API
        Field("search", "text", notnull=True),  # ref, label and description, case-folded
        Field("registered_at", "timestamptz", notnull=True),
        Field("created", "timestamptz", notnull=True),
        Field("updated", "timestamptz", notnull=True),
        Field("deleted_at", "timestamptz"),  # its history stays readable, its ref is free again
        Field("latest_run_id", "string"),
        Field("latest_run_status", "string"),
        Field("latest_run_at", "timestamptz"),
        Field("total_runs", "bigint", notnull=True, default=0),
    ),
    "workflow_tag": (
        Field("tag", "string", notnull=True),
        Field("workflow_id", "uuid", notnull=True),
    ),
    "workflow_version": (
        Field("id", "uuid", notnull=True),
        Field("workflow_id", "uuid", notnull=True),
        Field("revision", "integer", notnull=True),
        Field("version", "string", notnull=True),
        Field("package_id", "string", notnull=True),  # name-version as it was then
        Field("definition", "text", notnull=True),  # JSON text: the order of keys has a meaning
        Field("source_text", "text"),  # the YAML as it came, for a loss-free way out
        Field("param_schema", "text"),  # JSON text
        Field("out_schema", "text"),  # JSON text
        Field("created", "timestamptz", notnull=True),
        Field("created_by", "bigint"),
    ),
    "workflow_permission": (
        Field("workflow_id", "uuid", notnull=True),
        Field("subject_type", "string", notnull=True),  # user, role, community
        Field("subject_id", "string", notnull=True),  # user id, role name or community id, as text
        Field("can_view", "boolean", notnull=True, default=False),
        Field("can_edit", "boolean", notnull=True, default=False),
        Field("can_execute", "boolean", notnull=True, default=False),
        Field("can_delete", "boolean", notnull=True, default=False),
        Field("can_manage_permissions", "boolean", notnull=True, default=False),
        Field("created", "timestamptz", notnull=True),
        Field("created_by", "bigint"),
    ),
    "pack_permission": (
        Field("pack_ref", "string", notnull=True),
        Field("subject_type", "string", notnull=True),
        Field("subject_id", "string", notnull=True),
        Field("can_edit", "boolean", notnull=True, default=False),
        Field("created", "timestamptz", notnull=True),
    ),
}

EXECUTION: dict[str, Columns] = {
    "workflow_executions": (
        Field("execution_id", "uuid", notnull=True),
        Field("workflow_id", "uuid"),
        Field("workflow_ref", "string", notnull=True),
        Field("workflow_version", "string", notnull=True),
        Field("package_id", "string", notnull=True),
        Field("version_id", "uuid", notnull=True),  # the pinned workflow_version row
        Field("community_id", "bigint"),
        Field("status", "string", notnull=True),
        Field("start_time", "timestamptz", notnull=True),
        Field("end_time", "timestamptz"),
        Field("execution_time_seconds", "double"),
        Field("nodes_executed", "integer", notnull=True, default=0),
        Field("error_message", "text"),
        Field("error_node_id", "string"),
        Field("error_type", "string"),
        Field("final_output", "json"),
        Field("parent_execution_id", "uuid"),
        Field("parent_node", "string"),  # the parent's node, run and item that waits for this child
        Field("depth", "integer", notnull=True, default=0),
        Field("rerun_of", "uuid"),
        Field("triggered_by", "bigint"),
        Field("key_id", "uuid"),
        Field("metadata", "json"),
        Field("traceparent", "string"),
        Field("engine_version", "integer", notnull=True),
        Field("driver", "uuid"),  # the worker that holds the lease, NULL = nobody
        Field("epoch", "integer", notnull=True, default=0),
        Field("wake_no", "integer", notnull=True, default=0),
        Field("wake_at", "timestamptz"),
        Field("waiting_for", "json"),
        Field("takeovers", "integer", notnull=True, default=0),  # in a row without progress
        Field("takeover_seq", "integer", notnull=True, default=0),
        Field("max_parallel", "integer"),  # of its workflow at once, 0 = only its key's limit holds; NULL = no limit
        Field("ended_at", "timestamptz"),
    ),
    "execution_event": (
        Field("execution_id", "uuid", notnull=True),
        Field("seq", "integer", notnull=True),
        Field("driver", "uuid"),
        Field("epoch", "integer", notnull=True),
        Field("v", "integer", notnull=True),
        Field("events", "text", notnull=True),  # JSON list: everything one decision said
        Field("at", "timestamptz", notnull=True),
    ),
    "payload": (
        Field("execution_id", "uuid", notnull=True),
        Field("n", "integer", notnull=True),
        Field("body", "text", notnull=True),
    ),
    "worker": (
        Field("id", "uuid", notnull=True),
        Field("name", "string", notnull=True),
        Field("version", "string", notnull=True),
        Field("engine_version", "integer", notnull=True),
        Field("started_at", "timestamptz", notnull=True),
        Field("heartbeat_at", "timestamptz", notnull=True),
        Field("stopping", "boolean", notnull=True, default=False),
        Field("driving", "integer", notnull=True, default=0),
    ),
    "dispatch_pause": (  # one row, `all`: whether nothing is driven now, by order of the operator
        Field("name", "string", notnull=True),
        Field("paused", "boolean", notnull=True),
        Field("reason", "text"),
        Field("changed_at", "timestamptz", notnull=True),
        Field("changed_by", "string", notnull=True),
    ),
    "inquiry": (
        Field("id", "uuid", notnull=True),
        Field("execution_id", "uuid", notnull=True),
        Field("node_id", "string", notnull=True),
        Field("task_run", "string", notnull=True),  # the engine's key of the waiting task run
        Field("workflow_id", "uuid"),
        Field("workflow_ref", "string", notnull=True),
        Field("community_id", "bigint"),
        Field("prompt", "text"),
        Field("assignees", "json"),
        Field("response_schema", "json"),
        Field("requester_id", "bigint"),
        Field("requester_may_respond", "boolean", notnull=True, default=False),
        Field("status", "string", notnull=True),  # open answered expired cancelled
        Field("opened_at", "timestamptz", notnull=True),
        Field("expires_at", "timestamptz"),
        Field("default_outcome", "json"),
        Field("response", "json"),
        Field("responded_by", "bigint"),
        Field("responded_at", "timestamptz"),
    ),
}

HISTORY: dict[str, Columns] = {
    "workflow_runs": (
        Field("id", "uuid", notnull=True),
        Field("wpk_id", "text", notnull=True),
        Field("run_id", "text", notnull=True),
        Field("inputs", "json"),  # NULL for source = engine: reads take it from the execution
        Field("outputs", "json"),
        Field("status", "text", notnull=True),
        Field("duration_ms", "integer"),
        Field("node_logs", "json"),
        Field("created_at", "timestamptz", notnull=True),
        Field("updated_at", "timestamptz", notnull=True),
        Field("source", "string", notnull=True, default="import"),  # engine, langgraph, notify, import
        Field("community_id", "bigint"),
        Field("workflow_id", "uuid"),
        Field("workflow_version", "string"),
        Field("reported_status", "string"),
        Field("error", "text"),
        Field("pinned", "boolean", notnull=True, default=False),
    ),
    "run_count": (  # runs that are kept, for exact totals without a scan
        Field("wpk_id", "string", notnull=True),
        Field("community_id", "bigint", notnull=True, default=0),  # 0 = none
        Field("status", "string", notnull=True),
        Field("runs", "bigint", notnull=True, default=0),
    ),
    "run_document": (  # what the keyword index knows of a run
        Field("n", "bigint"),
        Field("run", "uuid", notnull=True),
        Field("text", "text", notnull=True),
        Field("counted", "string"),  # day/status/bucket under which its duration is in the percentiles
    ),
    "retention_consent": (  # what an administrator has allowed retention to delete
        Field("subject", "string", notnull=True),
        Field("granted_at", "timestamptz", notnull=True),
        Field("granted_by", "bigint"),
    ),
    "run_embedding": (
        Field("run", "uuid", notnull=True),  # workflow_runs.id
        Field("model", "string", notnull=True),
        Field("dims", "integer", notnull=True),
        Field("vector", "blob"),  # float32, little endian, of unit length; NULL = kept in Milvus
        Field("text_hash", "string", notnull=True),
        Field("created", "timestamptz", notnull=True),
    ),
    "outbox": (
        Field("id", "uuid", notnull=True),
        Field("kind", "string", notnull=True),
        Field("subject", "uuid", notnull=True),
        Field("attempts", "integer", notnull=True, default=0),
        Field("next_at", "timestamptz", notnull=True),
        Field("error", "text"),
        Field("dead_at", "timestamptz"),
        Field("created", "timestamptz", notnull=True),
    ),
    "workflow_daily": (
        Field("wpk_id", "string", notnull=True),
        Field("community_id", "bigint", notnull=True, default=0),  # 0 = none
        Field("day", "string", notnull=True),  # YYYY-MM-DD, UTC
        Field("status", "string", notnull=True),
        Field("runs", "bigint", notnull=True, default=0),
        Field("duration_ms_sum", "bigint", notnull=True, default=0),
        Field("durations", "json"),  # histogram {bucket: count}, logarithmic buckets
    ),
}

INSIGHT: dict[str, Columns] = {
    "insight_signals": (
        Field("id", "uuid", notnull=True),
        Field("metric", "text", notnull=True),
        Field("value", "double", notnull=True),
        Field("score", "double", notnull=True),
        Field("hint", "text"),
        Field("created_at", "timestamptz", notnull=True),
        Field("labels", "json"),
        Field("method", "string"),
        Field("source", "string"),
        Field("series", "string"),  # metric and labels in one canonical text
        Field("workflow_id", "uuid"),
        Field("community_id", "bigint"),
        Field("watch_id", "uuid"),
        Field("window", "json", rname='"window"'),  # the points it was judged on
        Field("verdict", "string"),  # useful, noise, expected
        Field("note", "text"),
    ),
    "watch": (
        Field("id", "uuid", notnull=True),
        Field("query", "text", notnull=True),
        Field("every_seconds", "integer", notnull=True),
        Field("threshold", "double", notnull=True),
        Field("method", "string", notnull=True),
        Field("lookback_minutes", "integer", notnull=True),
        Field("step_seconds", "integer", notnull=True),
        Field("notify", "json"),
        Field("owner_id", "bigint"),
        Field("community_id", "bigint"),
        Field("enabled", "boolean", notnull=True, default=True),
        Field("next_at", "timestamptz", notnull=True),
        Field("last_at", "timestamptz"),
        Field("last_error", "text"),
        Field("worker", "uuid"),
        Field("created", "timestamptz", notnull=True),
    ),
    "series_state": (
        Field("series", "string", notnull=True),
        Field("kind", "string", notnull=True),
        Field("state", "blob"),
        Field("bar", "double", notnull=True, default=0.0),  # added to every threshold after "noise" verdicts
        Field("updated_at", "timestamptz", notnull=True),
    ),
}

KEYS: dict[str, tuple[str, ...]] = {
    "user_role": ("user_id", "community_id", "role"),
    "audit_anchor": ("name",),
    "idempotency_key": ("user_id", "key"),
    "action": ("ref",),
    "workflow_tag": ("tag", "workflow_id"),
    "workflow_permission": ("workflow_id", "subject_type", "subject_id"),
    "pack_permission": ("pack_ref", "subject_type", "subject_id"),
    "workflow_executions": ("execution_id",),
    "execution_event": ("execution_id", "seq"),
    "payload": ("execution_id", "n"),
    "dispatch_pause": ("name",),
    "run_count": ("wpk_id", "community_id", "status"),
    "run_document": ("n",),
    "retention_consent": ("subject",),
    "run_embedding": ("run",),
    "workflow_daily": ("wpk_id", "community_id", "day", "status"),
    "series_state": ("series", "kind"),
}

TABLES: dict[str, Columns] = {**ACCESS, **REGISTRY, **EXECUTION, **HISTORY, **INSIGHT}


def declare(db: Any) -> Any:
    """Declare every table on `db` and return it."""
    for name, columns in TABLES.items():
        db.define_table(name, *(column.clone() for column in columns), primarykey=list(KEYS.get(name, ("id",))))
    return db
