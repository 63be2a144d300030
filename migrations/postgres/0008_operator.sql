-- Whether the operator has halted all driving; no row: nobody ever did.
CREATE TABLE dispatch_pause (
    name text NOT NULL,
    paused boolean NOT NULL,
    reason text,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    PRIMARY KEY (name)
);
