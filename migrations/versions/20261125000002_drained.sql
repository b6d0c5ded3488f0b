-- The event that asked for a drain names the user: it goes once it is answered. A
-- publisher of before may still answer beside new ones, and leaves it.
ALTER TABLE account_lanes DROP CONSTRAINT account_lanes_drains,
  ADD CONSTRAINT account_lanes_drains CHECK ((drained_at IS NOT NULL OR (draining IS NULL) = (draining_at IS NULL)) AND (drained_at IS NULL OR draining_at IS NOT NULL));
UPDATE account_lanes SET draining = NULL WHERE drained_at IS NOT NULL;
