-- What was published with an account that is another user's now is deleted with the
-- person's data too.
CREATE TABLE former_accounts (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  provider text NOT NULL,
  provider_account_id text NOT NULL,
  callback_id text,
  erase boolean NOT NULL DEFAULT false
);
CREATE INDEX former_accounts_user ON former_accounts (user_id);
CREATE INDEX former_accounts_provider_account_id ON former_accounts (provider, provider_account_id);
CREATE INDEX former_accounts_callback_id ON former_accounts (provider, callback_id);
CREATE INDEX former_accounts_erase ON former_accounts (id) WHERE erase;
GRANT SELECT, INSERT, UPDATE, DELETE ON former_accounts TO postbus_account;
