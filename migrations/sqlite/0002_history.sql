CREATE TABLE run_count (
    wpk_id TEXT NOT NULL,
    community_id INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    runs INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (wpk_id, community_id, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_document (
    n INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    text TEXT NOT NULL,
    counted TEXT
) STRICT;

CREATE UNIQUE INDEX run_document_run ON run_document (run);

CREATE VIRTUAL TABLE run_text USING fts5(
    text, content='run_document', content_rowid='n', tokenize='unicode61 remove_diacritics 2'
);

CREATE TRIGGER run_document_added AFTER INSERT ON run_document BEGIN
    INSERT INTO run_text(rowid, text) VALUES (new.n, new.text);
END;

CREATE TRIGGER run_document_gone AFTER DELETE ON run_document BEGIN
    INSERT INTO run_text(run_text, rowid, text) VALUES ('delete', old.n, old.text);
END;

CREATE TRIGGER run_document_changed AFTER UPDATE OF text ON run_document BEGIN
    INSERT INTO run_text(run_text, rowid, text) VALUES ('delete', old.n, old.text);
    INSERT INTO run_text(rowid, text) VALUES (new.n, new.text);
END;

DROP INDEX workflow_runs_created;

CREATE INDEX workflow_runs_created ON workflow_runs (created_at, id, duration_ms, community_id, workflow_id);

CREATE INDEX workflow_runs_status_all ON workflow_runs (status, created_at, id);

CREATE INDEX workflow_runs_source ON workflow_runs (source, created_at, id);

CREATE UNIQUE INDEX outbox_subject ON outbox (kind, subject);
