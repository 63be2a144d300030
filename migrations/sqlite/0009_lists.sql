-- Lists of the record and of keys that walk an index, however they are filtered.
CREATE INDEX audit_log_action ON audit_log (action, at, id);
-- refusals only: what was done, which is nearly everything, costs it nothing
CREATE INDEX audit_log_refused ON audit_log (at, id) WHERE category <> 'AUDIT';
CREATE INDEX api_key_newest ON api_key (user_id, id);
DROP INDEX api_key_user;
