-- Who may do what: the roles that the services log in as (roles.sql), and
-- row-level security on the outbox.

-- What each service may do, as the role that it logs in as (roles.sql makes
-- them). Nobody but the owner may TRUNCATE, or take anything out of the outbox.
GRANT USAGE ON SCHEMA public TO postbus_account, postbus_publisher, postbus_refresher;

GRANT SELECT, INSERT, UPDATE, DELETE ON users, api_keys, oauth_accounts, connect_links, connect_states, provider_callbacks, budgets TO postbus_account;
GRANT SELECT ON gates TO postbus_account;
GRANT EXECUTE ON FUNCTION publishes_blank(uuid, uuid) TO postbus_account;

-- The publisher has no use for refresh tokens.
GRANT SELECT ON users, api_keys TO postbus_publisher;
GRANT UPDATE (last_used_at) ON api_keys TO postbus_publisher;
GRANT SELECT (id, user_id, provider, provider_account_id, username, access_token, token_type, scope, expires_at, refresh_expires_at, metadata, status, token_version,
  version, refresh_after, lease_owner, lease_until, send_by, quiet_at, failure_count, failure_class, failed_at, created_at, updated_at, disconnect_reason,
  disconnecting_at, disconnect_next_at, drained_at, erase, disconnect_version) ON oauth_accounts TO postbus_publisher;
GRANT SELECT, INSERT, UPDATE, DELETE ON publishes, gates, budgets TO postbus_publisher;
GRANT SELECT, INSERT, DELETE ON publish_attempts TO postbus_publisher;
GRANT SELECT, INSERT, UPDATE ON account_lanes TO postbus_publisher;

GRANT SELECT ON users, oauth_accounts, gates TO postbus_refresher;
GRANT UPDATE (access_token, refresh_token, token_type, scope, expires_at, refresh_expires_at, status, token_version, version, refresh_after, lease_owner, lease_until,
  send_by, quiet_at, failure_count, failure_class, failed_at, updated_at) ON oauth_accounts TO postbus_refresher;
GRANT SELECT, INSERT, UPDATE, DELETE ON budgets TO postbus_refresher;

-- Each relays its own events and no others. A partition by its own name is
-- granted to nobody. The policies name the service as a constant, so that the
-- plan of a statement that names it too stays the same.
GRANT SELECT, INSERT ON outbox TO postbus_account, postbus_publisher, postbus_refresher;
GRANT SELECT, INSERT, UPDATE ON outbox_cursors TO postbus_account, postbus_publisher, postbus_refresher;
GRANT EXECUTE ON FUNCTION outbox_make_partitions(integer), outbox_drop_partitions(integer) TO postbus_account, postbus_publisher, postbus_refresher;
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_cursors ENABLE ROW LEVEL SECURITY;
CREATE POLICY account ON outbox TO postbus_account USING (service = 'account');
CREATE POLICY publisher ON outbox TO postbus_publisher USING (service = 'publisher');
CREATE POLICY refresher ON outbox TO postbus_refresher USING (service = 'token-refresher');
CREATE POLICY account ON outbox_cursors TO postbus_account USING (service = 'account');
CREATE POLICY publisher ON outbox_cursors TO postbus_publisher USING (service = 'publisher');
CREATE POLICY refresher ON outbox_cursors TO postbus_refresher USING (service = 'token-refresher');

-- Every service asks whether the schema fits. The table is not part of it.
DO $body$
BEGIN
  IF to_regclass('atlas_schema_revisions.atlas_schema_revisions') IS NOT NULL THEN
    GRANT USAGE ON SCHEMA atlas_schema_revisions TO postbus_account, postbus_publisher, postbus_refresher;
    GRANT SELECT ON atlas_schema_revisions.atlas_schema_revisions TO postbus_account, postbus_publisher, postbus_refresher;
  END IF;
END
$body$;
