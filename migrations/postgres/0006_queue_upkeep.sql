-- What `pgq autovac` of PgQueuer 1.6.0 would set: a table through which thousands of rows pass every second is vacuumed
-- often and at full speed, and has room for its updates. The log and the statistics of the queue are hardly written.

ALTER TABLE pgqueuer SET (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 500,
    autovacuum_vacuum_cost_limit = 10000,
    autovacuum_vacuum_cost_delay = 0,
    fillfactor = 70
);

ALTER TABLE pgqueuer_schedules SET (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 500,
    autovacuum_vacuum_cost_limit = 10000,
    autovacuum_vacuum_cost_delay = 0,
    fillfactor = 70
);

ALTER TABLE pgqueuer_log SET (
    autovacuum_vacuum_scale_factor = 0.95,
    autovacuum_vacuum_threshold = 1000000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_analyze_threshold = 10000
);

ALTER TABLE pgqueuer_statistics SET (
    autovacuum_vacuum_scale_factor = 0.95,
    autovacuum_vacuum_threshold = 1000000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_analyze_threshold = 10000
);
