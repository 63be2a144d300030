ALTER TABLE workflow_executions ADD COLUMN max_parallel INTEGER;

-- Each index holds the executions of one kind and no others: those that somebody drives, and those that nobody drives and
-- that have a time to go on. A hundred thousand that wait for people are in neither of them.
DROP INDEX workflow_executions_open;

DROP INDEX workflow_executions_driver;

CREATE INDEX workflow_executions_driver ON workflow_executions (driver)
    WHERE ended_at IS NULL AND driver IS NOT NULL;

CREATE INDEX workflow_executions_due ON workflow_executions (wake_at, execution_id)
    WHERE ended_at IS NULL AND driver IS NULL AND wake_at IS NOT NULL;

CREATE INDEX workflow_executions_turn ON workflow_executions (workflow_id, wake_at, key_id, execution_id)
    WHERE ended_at IS NULL AND driver IS NULL AND wake_at IS NOT NULL;
