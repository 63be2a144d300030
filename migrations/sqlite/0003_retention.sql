CREATE TABLE retention_consent (
    subject TEXT NOT NULL,
    granted_at TEXT NOT NULL,
    granted_by INTEGER,
    PRIMARY KEY (subject)
) STRICT;
