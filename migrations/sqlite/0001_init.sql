CREATE TABLE app_user (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT,
    is_admin INTEGER NOT NULL DEFAULT 0,
    is_active INTEGER NOT NULL DEFAULT 1,
    created TEXT NOT NULL
) STRICT;

CREATE TABLE user_role (
    user_id INTEGER NOT NULL,
    community_id INTEGER NOT NULL,
    role TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (user_id, community_id, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
    id TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL,
    scopes TEXT NOT NULL DEFAULT '[]',
    community_id INTEGER,
    created TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    last_used_at TEXT,
    rotated_to TEXT,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE audit_log (
    id TEXT NOT NULL,
    at TEXT NOT NULL,
    category TEXT NOT NULL,
    action TEXT NOT NULL,
    result TEXT NOT NULL,
    actor_id INTEGER,
    key_id TEXT,
    community_id INTEGER,
    workflow_id TEXT,
    resource TEXT,
    reason TEXT,
    request_id TEXT,
    details TEXT,
    chain_no INTEGER,
    hash TEXT,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE idempotency_key (
    user_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    route TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE pack (
    id TEXT NOT NULL,
    ref TEXT NOT NULL,
    label TEXT NOT NULL,
    description TEXT,
    version TEXT NOT NULL,
    config_schema TEXT,
    config TEXT,
    tags TEXT NOT NULL DEFAULT '[]',
    source TEXT NOT NULL,
    source_hash TEXT,
    workflow_count INTEGER NOT NULL DEFAULT 0,
    owner_id INTEGER,
    community_id INTEGER,
    change_no INTEGER NOT NULL DEFAULT 1,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE action (
    ref TEXT NOT NULL,
    pack_ref TEXT NOT NULL,
    spec TEXT NOT NULL,
    updated TEXT NOT NULL,
    PRIMARY KEY (ref)
) STRICT;

CREATE TABLE workflow (
    id TEXT NOT NULL,
    ref TEXT NOT NULL,
    package_id TEXT NOT NULL,
    pack_ref TEXT NOT NULL,
    name TEXT NOT NULL,
    author TEXT,
    label TEXT NOT NULL,
    description TEXT,
    version TEXT NOT NULL,
    revision INTEGER NOT NULL,
    version_id TEXT NOT NULL,
    change_no INTEGER NOT NULL DEFAULT 1,
    tags TEXT NOT NULL DEFAULT '[]',
    enabled INTEGER NOT NULL DEFAULT 1,
    community_id INTEGER,
    owner_id INTEGER,
    source TEXT NOT NULL,
    source_path TEXT,
    source_hash TEXT,
    modified INTEGER NOT NULL DEFAULT 0,
    search TEXT NOT NULL,
    registered_at TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    deleted_at TEXT,
    latest_run_id TEXT,
    latest_run_status TEXT,
    latest_run_at TEXT,
    total_runs INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE workflow_tag (
    tag TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    PRIMARY KEY (tag, workflow_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflow_version (
    id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    version TEXT NOT NULL,
    package_id TEXT NOT NULL,
    definition TEXT NOT NULL,
    source_text TEXT,
    param_schema TEXT,
    out_schema TEXT,
    created TEXT NOT NULL,
    created_by INTEGER,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE workflow_permission (
    workflow_id TEXT NOT NULL,
    subject_type TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    can_view INTEGER NOT NULL DEFAULT 0,
    can_edit INTEGER NOT NULL DEFAULT 0,
    can_execute INTEGER NOT NULL DEFAULT 0,
    can_delete INTEGER NOT NULL DEFAULT 0,
    can_manage_permissions INTEGER NOT NULL DEFAULT 0,
    created TEXT NOT NULL,
    created_by INTEGER,
    PRIMARY KEY (workflow_id, subject_type, subject_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE pack_permission (
    pack_ref TEXT NOT NULL,
    subject_type TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    can_edit INTEGER NOT NULL DEFAULT 0,
    created TEXT NOT NULL,
    PRIMARY KEY (pack_ref, subject_type, subject_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflow_executions (
    execution_id TEXT NOT NULL,
    workflow_id TEXT,
    workflow_ref TEXT NOT NULL,
    workflow_version TEXT NOT NULL,
    package_id TEXT NOT NULL,
    version_id TEXT NOT NULL,
    community_id INTEGER,
    status TEXT NOT NULL,
    start_time TEXT NOT NULL,
    end_time TEXT,
    execution_time_seconds REAL,
    nodes_executed INTEGER NOT NULL DEFAULT 0,
    error_message TEXT,
    error_node_id TEXT,
    error_type TEXT,
    final_output TEXT,
    parent_execution_id TEXT,
    parent_node TEXT,
    depth INTEGER NOT NULL DEFAULT 0,
    rerun_of TEXT,
    triggered_by INTEGER,
    key_id TEXT,
    metadata TEXT,
    traceparent TEXT,
    engine_version INTEGER NOT NULL,
    driver TEXT,
    epoch INTEGER NOT NULL DEFAULT 0,
    wake_no INTEGER NOT NULL DEFAULT 0,
    wake_at TEXT,
    waiting_for TEXT,
    takeovers INTEGER NOT NULL DEFAULT 0,
    takeover_seq INTEGER NOT NULL DEFAULT 0,
    ended_at TEXT,
    PRIMARY KEY (execution_id)
) STRICT;

CREATE TABLE execution_event (
    execution_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    driver TEXT,
    epoch INTEGER NOT NULL,
    v INTEGER NOT NULL,
    events TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (execution_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE payload (
    execution_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (execution_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE worker (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    engine_version INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    stopping INTEGER NOT NULL DEFAULT 0,
    driving INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE inquiry (
    id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    task_run TEXT NOT NULL,
    workflow_id TEXT,
    workflow_ref TEXT NOT NULL,
    community_id INTEGER,
    prompt TEXT,
    assignees TEXT,
    response_schema TEXT,
    requester_id INTEGER,
    requester_may_respond INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    opened_at TEXT NOT NULL,
    expires_at TEXT,
    default_outcome TEXT,
    response TEXT,
    responded_by INTEGER,
    responded_at TEXT,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE workflow_runs (
    id TEXT NOT NULL,
    wpk_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    inputs TEXT,
    outputs TEXT,
    status TEXT NOT NULL,
    duration_ms INTEGER,
    node_logs TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z','now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z','now')),
    source TEXT NOT NULL DEFAULT 'import',
    community_id INTEGER,
    workflow_id TEXT,
    workflow_version TEXT,
    reported_status TEXT,
    error TEXT,
    pinned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE run_embedding (
    run TEXT NOT NULL,
    model TEXT NOT NULL,
    dims INTEGER NOT NULL,
    vector BLOB,
    text_hash TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (run)
) STRICT;

CREATE TABLE outbox (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at TEXT NOT NULL,
    error TEXT,
    dead_at TEXT,
    created TEXT NOT NULL,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE workflow_daily (
    wpk_id TEXT NOT NULL,
    community_id INTEGER NOT NULL DEFAULT 0,
    day TEXT NOT NULL,
    status TEXT NOT NULL,
    runs INTEGER NOT NULL DEFAULT 0,
    duration_ms_sum INTEGER NOT NULL DEFAULT 0,
    durations TEXT,
    PRIMARY KEY (wpk_id, community_id, day, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE insight_signals (
    id TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL NOT NULL,
    score REAL NOT NULL,
    hint TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z','now')),
    labels TEXT,
    method TEXT,
    source TEXT,
    series TEXT,
    workflow_id TEXT,
    community_id INTEGER,
    watch_id TEXT,
    "window" TEXT,
    verdict TEXT,
    note TEXT,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE watch (
    id TEXT NOT NULL,
    query TEXT NOT NULL,
    every_seconds INTEGER NOT NULL,
    threshold REAL NOT NULL,
    method TEXT NOT NULL,
    lookback_minutes INTEGER NOT NULL,
    step_seconds INTEGER NOT NULL,
    notify TEXT,
    owner_id INTEGER,
    community_id INTEGER,
    enabled INTEGER NOT NULL DEFAULT 1,
    next_at TEXT NOT NULL,
    last_at TEXT,
    last_error TEXT,
    worker TEXT,
    created TEXT NOT NULL,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE series_state (
    series TEXT NOT NULL,
    kind TEXT NOT NULL,
    state BLOB,
    bar REAL NOT NULL DEFAULT 0.0,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (series, kind)
) STRICT;

CREATE UNIQUE INDEX app_user_name ON app_user (name);
CREATE INDEX user_role_community ON user_role (community_id, role);
CREATE UNIQUE INDEX api_key_hash ON api_key (hash);
CREATE INDEX api_key_user ON api_key (user_id, created);
CREATE INDEX audit_log_at ON audit_log (at, id);
CREATE INDEX audit_log_actor ON audit_log (actor_id, at);
CREATE INDEX audit_log_workflow ON audit_log (workflow_id, at);
CREATE UNIQUE INDEX audit_log_chain ON audit_log (chain_no);
CREATE INDEX audit_log_unsealed ON audit_log (id) WHERE chain_no IS NULL;
CREATE INDEX idempotency_key_created ON idempotency_key (created);
CREATE UNIQUE INDEX pack_ref ON pack (ref);
CREATE INDEX action_pack ON action (pack_ref, ref);
CREATE UNIQUE INDEX workflow_ref ON workflow (ref) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX workflow_package ON workflow (package_id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_package_all ON workflow (package_id);
CREATE INDEX workflow_living ON workflow (id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_pack ON workflow (pack_ref, id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_owner ON workflow (owner_id, id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_community ON workflow (community_id, id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_updated ON workflow (updated, id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_label ON workflow (label, id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_name ON workflow (name, id) WHERE deleted_at IS NULL;
CREATE INDEX workflow_tag_workflow ON workflow_tag (workflow_id);
CREATE UNIQUE INDEX workflow_version_revision ON workflow_version (workflow_id, revision);
CREATE INDEX workflow_version_label ON workflow_version (workflow_id, version, revision);
CREATE INDEX workflow_version_package ON workflow_version (package_id, workflow_id, revision);
CREATE INDEX workflow_permission_subject ON workflow_permission (subject_type, subject_id, workflow_id);
CREATE INDEX workflow_executions_list ON workflow_executions (workflow_id, start_time, execution_id);
CREATE INDEX workflow_executions_status ON workflow_executions (workflow_id, status, start_time, execution_id);
CREATE INDEX workflow_executions_open ON workflow_executions (wake_at, execution_id) WHERE ended_at IS NULL;
CREATE INDEX workflow_executions_driver ON workflow_executions (driver) WHERE ended_at IS NULL;
CREATE INDEX workflow_executions_parent ON workflow_executions (parent_execution_id) WHERE parent_execution_id IS NOT NULL;
CREATE INDEX inquiry_execution ON inquiry (execution_id);
CREATE INDEX inquiry_status ON inquiry (status, opened_at, id);
CREATE UNIQUE INDEX workflow_runs_identity ON workflow_runs (wpk_id, run_id, COALESCE(community_id, 0));
CREATE INDEX workflow_runs_list ON workflow_runs (wpk_id, created_at, id);
CREATE INDEX workflow_runs_status ON workflow_runs (wpk_id, status, created_at, id);
CREATE INDEX workflow_runs_created ON workflow_runs (created_at, id);
CREATE INDEX workflow_runs_run ON workflow_runs (run_id);
CREATE INDEX outbox_due ON outbox (next_at, id) WHERE dead_at IS NULL;
CREATE INDEX workflow_daily_day ON workflow_daily (day);
CREATE INDEX insight_signals_created ON insight_signals (created_at, id);
CREATE INDEX insight_signals_metric ON insight_signals (metric, created_at, id);
CREATE INDEX watch_due ON watch (next_at) WHERE enabled;
