CREATE TABLE retention_consent (
    subject text NOT NULL,
    granted_at timestamptz NOT NULL,
    granted_by bigint,
    PRIMARY KEY (subject)
);
