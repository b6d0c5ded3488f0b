-- Which disconnecting a drained account was drained for, and the accounts of a
-- provider's callback.

ALTER TABLE oauth_accounts ADD COLUMN disconnect_version bigint;
UPDATE oauth_accounts SET disconnect_version = version WHERE status = 'disconnecting';
CREATE INDEX oauth_accounts_callback_id ON oauth_accounts (provider, (metadata ->> 'callback_id'));
