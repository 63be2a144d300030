CREATE TABLE retention_consent (
    subject text NOT NULL,
    granted_at timestamptz NOT NULL,
    granted_by bigint,
    PRIMARY KEY (subject)
);

CREATE TABLE audit_anchor (
    name text NOT NULL,
    chain_no bigint NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (name)
);
