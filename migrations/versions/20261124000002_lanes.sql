-- An account's publishes are looked for by state: thousands that wait for their
-- turn must not stand before the one that has something to do.
CREATE INDEX publishes_lane ON publishes (account_id, state, next_at) WHERE next_at IS NOT NULL;
DROP INDEX publishes_account_next;
