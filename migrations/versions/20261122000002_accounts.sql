-- The account service: connecting, disconnecting, deleting a user.

ALTER TABLE users ADD COLUMN deleting_at timestamptz;
CREATE INDEX users_deleting_at ON users (deleting_at) WHERE deleting_at IS NOT NULL;

ALTER TABLE oauth_accounts
  ADD COLUMN disconnect_reason text,
  ADD COLUMN disconnecting_at timestamptz,
  ADD COLUMN disconnect_next_at timestamptz,
  ADD COLUMN drained_at timestamptz,
  ADD COLUMN erase boolean NOT NULL DEFAULT false;
UPDATE oauth_accounts SET disconnect_reason = 'requested', disconnecting_at = now(), disconnect_next_at = now() WHERE status = 'disconnecting';
UPDATE oauth_accounts SET access_token = NULL, refresh_token = NULL WHERE status = 'disconnected';
ALTER TABLE oauth_accounts
  ADD CONSTRAINT oauth_accounts_disconnecting CHECK ((status = 'disconnecting') = (disconnect_next_at IS NOT NULL)),
  ADD CONSTRAINT oauth_accounts_disconnecting_says_why CHECK (status <> 'disconnecting' OR (disconnect_reason IS NOT NULL AND disconnecting_at IS NOT NULL)),
  ADD CONSTRAINT oauth_accounts_disconnected_has_no_token CHECK (status <> 'disconnected' OR (access_token IS NULL AND refresh_token IS NULL)),
  ADD CONSTRAINT oauth_accounts_drained CHECK (status IN ('disconnecting', 'disconnected') OR drained_at IS NULL),
  ADD CONSTRAINT oauth_accounts_erase CHECK (NOT erase OR status = 'disconnecting');
CREATE INDEX oauth_accounts_disconnect_next_at ON oauth_accounts (disconnect_next_at) WHERE disconnect_next_at IS NOT NULL;

-- A link for the browser of somebody who has no key. It may be followed several
-- times until it has led to a connection or expired.
CREATE TABLE connect_links (
  token_sha256 bytea PRIMARY KEY CHECK (length(token_sha256) = 32),
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
  return_to text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz,                      -- it has led to a connection
  CONSTRAINT connect_links_expire CHECK (expires_at > created_at)
);
CREATE INDEX connect_links_user ON connect_links (user_id);
CREATE INDEX connect_links_expires_at ON connect_links (expires_at);

-- An authorization on its way through a browser and a provider. The UPDATE that
-- sets used_at is what makes it good for one time.
CREATE TABLE connect_states (
  state_sha256 bytea PRIMARY KEY CHECK (length(state_sha256) = 32),
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
  link_sha256 bytea CHECK (length(link_sha256) = 32), -- of the link that it began with; it may be gone
  browser_sha256 bytea NOT NULL CHECK (length(browser_sha256) = 32), -- of a cookie's value
  return_to text NOT NULL DEFAULT '',
  verifier bytea,                           -- PKCE, sealed; null where the provider has none
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  CONSTRAINT connect_states_expire CHECK (expires_at > created_at)
);
CREATE INDEX connect_states_user ON connect_states (user_id);
CREATE INDEX connect_states_expires_at ON connect_states (expires_at);

-- Requests of providers that were taken: one that comes again is known by its
-- digest. Kept 90 days.
CREATE TABLE provider_callbacks (
  digest bytea PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 of what was signed
  provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
  kind text NOT NULL,
  code text UNIQUE,                         -- by which a person may ask how a deletion stands
  account_ids uuid[] NOT NULL DEFAULT '{}', -- that it concerned
  received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX provider_callbacks_received_at ON provider_callbacks (received_at);

ALTER TABLE publishes ADD COLUMN blanked_at timestamptz,
  ADD CONSTRAINT publishes_blanked CHECK (blanked_at IS NULL OR (request IS NULL AND request_sha256 IS NULL AND content_sha256 IS NULL));

-- Deletes the content of a user's publishes, or of those of one account of hers,
-- and returns how many it blanked: what was asked for, what was prepared, what
-- the provider and we said in words. What happened stays: states, times, codes,
-- the post's id. (A permalink goes: its path may repeat title and user name.) The
-- version moves, so that nobody writes back what he had read. It locks in the
-- order of everybody else. Where no user is named the account must still be there.
CREATE FUNCTION publishes_blank(p_user uuid, p_account uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $function$
DECLARE
  owner uuid := coalesce(p_user, (SELECT user_id FROM public.oauth_accounts WHERE id = p_account));
  blanked bigint;
BEGIN
  IF owner IS NULL THEN
    RAISE EXCEPTION 'neither a user is named nor an account that is there' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM FROM public.publishes
  WHERE user_id = owner AND (p_account IS NULL OR account_id = p_account) AND blanked_at IS NULL
  ORDER BY id FOR UPDATE;
  WITH gone AS (
    UPDATE public.publishes SET
      request = NULL, request_sha256 = NULL, content_sha256 = NULL, checkpoint = NULL,
      result = CASE WHEN result IS NOT NULL THEN
        jsonb_build_object('postId', result -> 'postId', 'permalink', NULL, 'timestamp', result -> 'timestamp', 'caption', '') END,
      error = CASE WHEN error IS NOT NULL THEN
        jsonb_build_object('code', error -> 'code', 'message', 'deleted with the account') || jsonb_strip_nulls(
          jsonb_build_object('providerCode', error -> 'providerCode', 'providerRequestId', error -> 'providerRequestId')) END,
      blanked_at = clock_timestamp(), version = version + 1
    WHERE user_id = owner AND (p_account IS NULL OR account_id = p_account) AND blanked_at IS NULL
    RETURNING id
  ), quiet AS (
    UPDATE public.publish_attempts a SET message = '' FROM gone WHERE a.publish_id = gone.id AND a.message <> ''
  )
  SELECT count(*) INTO blanked FROM gone;
  RETURN blanked;
END
$function$;

REVOKE ALL ON FUNCTION publishes_blank(uuid, uuid) FROM PUBLIC;
