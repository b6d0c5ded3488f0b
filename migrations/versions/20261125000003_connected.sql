-- A provider's call that a person removed our app may come after they have
-- connected the account again: it is about the connection of before.
ALTER TABLE oauth_accounts ADD COLUMN connected_at timestamptz NOT NULL DEFAULT now();
UPDATE oauth_accounts SET connected_at = created_at;
GRANT SELECT (connected_at) ON oauth_accounts TO postbus_publisher;
