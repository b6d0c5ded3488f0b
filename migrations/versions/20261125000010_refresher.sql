-- The token-refresher claims what is due of each provider by itself: one that is
-- away must not stand before the others.
ALTER TABLE oauth_accounts ADD COLUMN expiring_told boolean NOT NULL DEFAULT false;
DROP INDEX oauth_accounts_refresh_after;
CREATE INDEX oauth_accounts_refresh_after ON oauth_accounts (provider, refresh_after) WHERE status IN ('active', 'reauth_required');
GRANT SELECT (expiring_told) ON oauth_accounts TO postbus_publisher;
GRANT UPDATE (expiring_told) ON oauth_accounts TO postbus_refresher;
