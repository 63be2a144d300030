"""The statements that an execution's journal consists of. One name, one statement, many rows."""

from __future__ import annotations

from typing import Any

from models.bulk import Bulk, Row

APPEND = Bulk(
    name="append",
    columns="id uuid, seq bigint, driver uuid, epoch bigint, v bigint, events text, at timestamptz",
    sql="INSERT INTO execution_event (execution_id, seq, driver, epoch, v, events, at)"
    " {v} SELECT id, seq, driver, epoch, v, events, at FROM v WHERE true ON CONFLICT (execution_id, seq) DO NOTHING",
)

APPEND_FENCED = Bulk(
    name="append_fenced", columns=APPEND.columns, sql=APPEND.sql, returning="execution_event.execution_id, seq"
)

APPEND_PLAIN = Bulk(
    name="append_plain",
    columns=APPEND.columns,
    sql=APPEND.sql.removesuffix(" ON CONFLICT (execution_id, seq) DO NOTHING"),
)
"""Fails, and everything with it, when a place is taken."""

START = Bulk(
    name="start",
    columns="id uuid, workflow_id uuid, workflow_ref text, workflow_version text, package_id text, version_id uuid,"
    " community_id bigint, status text, start_time timestamptz, parent_execution_id uuid, parent_node text,"
    " depth bigint, rerun_of uuid, triggered_by bigint, key_id uuid, metadata json, traceparent text,"
    " engine_version bigint, driver uuid, epoch bigint, wake_at timestamptz, max_parallel bigint",
    sql="INSERT INTO workflow_executions (execution_id, workflow_id, workflow_ref, workflow_version, package_id,"
    " version_id, community_id, status, start_time, parent_execution_id, parent_node, depth, rerun_of, triggered_by,"
    " key_id, metadata, traceparent, engine_version, driver, epoch, wake_at, max_parallel)"
    " {v} SELECT * FROM v WHERE true ON CONFLICT (execution_id) DO NOTHING",
)

FINISH = Bulk(
    name="finish",
    columns="id uuid, status text, at timestamptz, seconds double, nodes bigint, error text, error_node text,"
    " error_type text, output json",
    sql="{v} UPDATE workflow_executions SET status = v.status, end_time = v.at, ended_at = v.at,"
    " execution_time_seconds = v.seconds, nodes_executed = v.nodes, error_message = v.error,"
    " error_node_id = v.error_node, error_type = v.error_type, final_output = v.output,"
    " driver = NULL, wake_at = NULL, waiting_for = NULL FROM v WHERE execution_id = v.id",
)

STATUS = Bulk(
    name="status",
    columns="id uuid, status text, nodes bigint",
    sql="{v} UPDATE workflow_executions SET status = v.status, nodes_executed = v.nodes FROM v"
    " WHERE execution_id = v.id AND ended_at IS NULL",
)

PARK = Bulk(
    name="park",
    columns="id uuid, epoch bigint, wake_no bigint, wake_at timestamptz, waiting_for json, status text, nodes bigint",
    sql="{v} UPDATE workflow_executions SET driver = NULL, wake_at = v.wake_at, waiting_for = v.waiting_for,"
    " status = v.status, nodes_executed = v.nodes FROM v"
    " WHERE execution_id = v.id AND workflow_executions.epoch = v.epoch"
    " AND workflow_executions.wake_no = v.wake_no AND ended_at IS NULL",
    returning="execution_id",
)

WAKE = Bulk(
    name="wake",
    columns="id uuid, at timestamptz",
    sql="{v} UPDATE workflow_executions SET wake_no = wake_no + 1,"
    " wake_at = CASE WHEN driver IS NULL THEN v.at ELSE wake_at END FROM v"
    " WHERE execution_id = v.id AND ended_at IS NULL",
    returning="execution_id, driver",
)

RUN = Bulk(
    name="run",
    columns="id uuid, wpk_id text, status text, duration_ms bigint, created_at timestamptz, updated_at timestamptz,"
    " community_id bigint, workflow_id uuid, workflow_version text, error text",
    sql="INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, created_at, updated_at, source,"
    " community_id, workflow_id, workflow_version, error)"
    " {v} SELECT id, wpk_id, CAST(id AS text), status, duration_ms, created_at, updated_at, 'engine',"
    " community_id, workflow_id, workflow_version, error FROM v WHERE true ON CONFLICT DO NOTHING",
)


def _runs_per_workflow(rows: list[Row]) -> list[Row]:
    """Rows (workflow, 1, run, status, at): the number of runs, and the newest of them."""
    found: dict[Any, Row] = {}
    for row in rows:
        known = found.get(row[0])
        if known is None:
            found[row[0]] = row
        else:
            newest = row if row[4] >= known[4] else known
            found[row[0]] = (row[0], known[1] + row[1], *newest[2:])
    return [found[key] for key in sorted(found)]


COUNT_RUNS = Bulk(
    name="count_runs",
    columns="id uuid, n bigint, run text, status text, at timestamptz",
    sql="{v} UPDATE workflow SET total_runs = total_runs + v.n,"
    " latest_run_id = CASE WHEN latest_run_at IS NULL OR latest_run_at <= v.at THEN v.run ELSE latest_run_id END,"
    " latest_run_status = CASE WHEN latest_run_at IS NULL OR latest_run_at <= v.at"
    " THEN v.status ELSE latest_run_status END,"
    " latest_run_at = CASE WHEN latest_run_at IS NULL OR latest_run_at <= v.at THEN v.at ELSE latest_run_at END"
    " FROM v WHERE workflow.id = v.id",
    summed=_runs_per_workflow,
)


def _runs_per_day(rows: list[Row]) -> list[Row]:
    """Rows (wpk, community, day, status, 1, milliseconds), summed."""
    found: dict[Row, list[int]] = {}
    for row in rows:
        sums = found.setdefault(row[:4], [0, 0])
        sums[0] += row[4]
        sums[1] += row[5]
    return [(*key, *found[key]) for key in sorted(found)]


COUNT_DAYS = Bulk(
    name="count_days",
    columns="id text, community_id bigint, day text, status text, runs bigint, ms bigint",
    sql="INSERT INTO workflow_daily (wpk_id, community_id, day, status, runs, duration_ms_sum)"
    " {v} SELECT * FROM v WHERE true ON CONFLICT (wpk_id, community_id, day, status) DO UPDATE SET"
    " runs = workflow_daily.runs + excluded.runs,"
    " duration_ms_sum = workflow_daily.duration_ms_sum + excluded.duration_ms_sum",
    summed=_runs_per_day,
)


def _runs_per_status(rows: list[Row]) -> list[Row]:
    """Rows (wpk, community, status, 1), summed."""
    found: dict[Row, int] = {}
    for row in rows:
        found[row[:3]] = found.get(row[:3], 0) + row[3]
    return [(*key, found[key]) for key in sorted(found)]


RUN_COUNT = Bulk(
    name="run_count",
    columns="id text, community_id bigint, status text, runs bigint",
    sql="INSERT INTO run_count (wpk_id, community_id, status, runs) {v} SELECT * FROM v WHERE true"
    " ON CONFLICT (wpk_id, community_id, status) DO UPDATE SET runs = run_count.runs + excluded.runs",
    summed=_runs_per_status,
)

TAKEN_OVER = Bulk(
    name="taken_over",
    columns="id uuid, takeovers bigint, seq bigint",
    sql="{v} UPDATE workflow_executions SET takeovers = v.takeovers, takeover_seq = v.seq FROM v WHERE execution_id = v.id",
)

OUTBOX = Bulk(
    name="outbox",
    columns="id uuid, kind text, subject uuid, at timestamptz",
    sql="INSERT INTO outbox (id, kind, subject, next_at, created) {v} SELECT id, kind, subject, at, at FROM v WHERE true"
    " ON CONFLICT DO NOTHING",
)

PAYLOAD = Bulk(
    name="payload",
    columns="id uuid, n bigint, body text",
    sql="INSERT INTO payload (execution_id, n, body) {v} SELECT * FROM v WHERE true ON CONFLICT DO NOTHING",
)

AUDIT = Bulk(
    name="audit",
    columns="id uuid, at timestamptz, category text, action text, result text, actor_id bigint, key_id uuid,"
    " community_id bigint, workflow_id uuid, resource text, reason text, request_id text, details json",
    sql="INSERT INTO audit_log (id, at, category, action, result, actor_id, key_id, community_id, workflow_id,"
    " resource, reason, request_id, details) {v} SELECT * FROM v WHERE true",
)

OPEN_INQUIRY = Bulk(
    name="open_inquiry",
    columns="id uuid, execution_id uuid, node_id text, task_run text, workflow_id uuid, workflow_ref text,"
    " community_id bigint, prompt text, assignees json, response_schema json, requester_id bigint,"
    " requester_may_respond boolean, opened_at timestamptz, expires_at timestamptz, default_outcome json",
    sql="INSERT INTO inquiry (id, execution_id, node_id, task_run, workflow_id, workflow_ref, community_id, prompt,"
    " assignees, response_schema, requester_id, requester_may_respond, opened_at, expires_at, default_outcome, status)"
    " {v} SELECT v.*, 'open' FROM v WHERE true ON CONFLICT DO NOTHING",
)

CLOSE_INQUIRY = Bulk(
    name="close_inquiry",
    columns="id uuid, status text, response json, by_user bigint, at timestamptz",
    sql="{v} UPDATE inquiry SET status = v.status, response = v.response, responded_by = v.by_user,"
    " responded_at = v.at FROM v WHERE inquiry.id = v.id AND inquiry.status = 'open'",
    returning="inquiry.id",
)

REMEMBER_KEY = Bulk(
    name="remember_key",
    columns="user_id bigint, key text, route text, body_hash text, resource_id text, created timestamptz",
    sql="INSERT INTO idempotency_key (user_id, key, route, body_hash, resource_id, created)"
    " {v} SELECT * FROM v WHERE true ON CONFLICT DO NOTHING",
    returning="user_id",
)

ENQUEUE = Bulk(
    name="enqueue",
    columns="id uuid",
    sql="INSERT INTO pgqueuer (priority, entrypoint, payload, status)"
    " {v} SELECT 0, 'claim', uuid_send(id), 'queued' FROM v",
)
"""PostgreSQL only: a job of PgQueuer for each execution that somebody should claim."""

ORDER = (
    START,
    PAYLOAD,
    APPEND,
    FINISH,
    STATUS,
    TAKEN_OVER,
    OPEN_INQUIRY,
    CLOSE_INQUIRY,
    PARK,
    WAKE,
    RUN,
    OUTBOX,
    AUDIT,
)
LAST = (COUNT_RUNS, RUN_COUNT, COUNT_DAYS)
"""Counters are shared rows: they are touched last, so that they are locked for the shortest time."""
