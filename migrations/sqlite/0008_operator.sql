-- Whether the operator has halted all driving; no row: nobody ever did.
CREATE TABLE dispatch_pause (
    name TEXT NOT NULL,
    paused INTEGER NOT NULL,
    reason TEXT,
    changed_at TEXT NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (name)
) STRICT;
