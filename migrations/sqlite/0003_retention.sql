CREATE TABLE retention_consent (
    subject TEXT NOT NULL,
    granted_at TEXT NOT NULL,
    granted_by INTEGER,
    PRIMARY KEY (subject)
) STRICT;

CREATE TABLE audit_anchor (
    name TEXT NOT NULL,
    chain_no INTEGER NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (name)
) STRICT;
