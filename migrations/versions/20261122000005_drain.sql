-- Disconnecting an account ends its publishes; what events told of it.
ALTER TABLE account_lanes
  ADD COLUMN account_version bigint NOT NULL DEFAULT 0,
  ADD COLUMN link_version bigint NOT NULL DEFAULT 0,
  ADD COLUMN draining bytea,
  ADD COLUMN draining_at timestamptz,
  ADD COLUMN drained_at timestamptz,
  ADD CONSTRAINT account_lanes_drains CHECK ((draining IS NULL) = (draining_at IS NULL) AND (drained_at IS NULL OR draining_at IS NOT NULL));
CREATE INDEX account_lanes_draining ON account_lanes (draining_at) WHERE draining_at IS NOT NULL AND drained_at IS NULL;
