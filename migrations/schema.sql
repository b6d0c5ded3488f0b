-- The desired state of the database. The versioned files beside it lead here;
-- a test holds the two together. Ids are UUIDv7 unless said otherwise, times
-- are timestamptz, and invariants that can be a constraint are one.

-- People of an upstream system, each a tenant.
CREATE TABLE users (
  id uuid PRIMARY KEY,
  external_id text NOT NULL UNIQUE CHECK (length(external_id) BETWEEN 1 AND 255), -- the upstream's own id
  created_at timestamptz NOT NULL DEFAULT now(),
  deleting_at timestamptz                   -- deletion was asked for: no key works, nothing new is connected
);
CREATE INDEX users_deleting_at ON users (deleting_at) WHERE deleting_at IS NOT NULL;

CREATE TABLE api_keys (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name text NOT NULL DEFAULT '',
  key_sha256 bytea NOT NULL UNIQUE CHECK (length(key_sha256) = 32),
  scopes text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);

CREATE TABLE oauth_accounts (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
  provider_account_id text NOT NULL CHECK (length(provider_account_id) BETWEEN 1 AND 255),
  username text NOT NULL DEFAULT '',
  access_token bytea,                       -- sealed; null once shredded
  refresh_token bytea,                      -- sealed; null where the provider has none
  token_type text NOT NULL DEFAULT 'bearer',
  scope text NOT NULL DEFAULT '',
  expires_at timestamptz,
  refresh_expires_at timestamptz,
  metadata jsonb NOT NULL DEFAULT '{}',
  status text NOT NULL DEFAULT 'active'
    CHECK (status IN ('active', 'reauth_required', 'disconnecting', 'disconnected')),
  token_version bigint NOT NULL DEFAULT 1,  -- compare-and-set of the tokens
  version bigint NOT NULL DEFAULT 1,        -- "sequence" of the account's events
  refresh_after timestamptz,                -- null: nothing to refresh
  lease_owner uuid,
  lease_until timestamptz,
  send_by timestamptz,                      -- a rotating refresh is armed like a Commit
  quiet_at timestamptz,
  failure_count integer NOT NULL DEFAULT 0,
  failure_class text,
  failed_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  disconnect_reason text,
  disconnecting_at timestamptz,
  disconnect_next_at timestamptz,           -- when the job of disconnecting looks next
  drained_at timestamptz,                   -- no publish of it is left that could act
  erase boolean NOT NULL DEFAULT false,     -- the row goes in the end, and the content of its publishes
  disconnect_version bigint,                -- version with which disconnecting began: what drains an earlier one does not count
  connected_at timestamptz NOT NULL DEFAULT now(), -- last: a provider's call of before is about another connection
  expiring_told boolean NOT NULL DEFAULT false, -- that this grant ends soon
  UNIQUE (provider, provider_account_id),
  CONSTRAINT oauth_accounts_active_has_token CHECK (status IN ('disconnecting', 'disconnected') OR access_token IS NOT NULL),
  CONSTRAINT oauth_accounts_lease CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
  CONSTRAINT oauth_accounts_window CHECK ((send_by IS NULL) = (quiet_at IS NULL) AND quiet_at >= send_by),
  CONSTRAINT oauth_accounts_disconnecting CHECK ((status = 'disconnecting') = (disconnect_next_at IS NOT NULL)),
  CONSTRAINT oauth_accounts_disconnecting_says_why CHECK (status <> 'disconnecting' OR (disconnect_reason IS NOT NULL AND disconnecting_at IS NOT NULL)),
  CONSTRAINT oauth_accounts_disconnected_has_no_token CHECK (status <> 'disconnected' OR (access_token IS NULL AND refresh_token IS NULL)),
  CONSTRAINT oauth_accounts_drained CHECK (status IN ('disconnecting', 'disconnected') OR drained_at IS NULL),
  CONSTRAINT oauth_accounts_erase CHECK (NOT erase OR status = 'disconnecting')
) WITH (fillfactor = 85);
CREATE INDEX oauth_accounts_user_provider ON oauth_accounts (user_id, provider);
CREATE INDEX oauth_accounts_refresh_after ON oauth_accounts (provider, refresh_after) WHERE status IN ('active', 'reauth_required');
CREATE INDEX oauth_accounts_callback_id ON oauth_accounts (provider, (metadata ->> 'callback_id')); -- what some providers call an account in their callbacks
CREATE INDEX oauth_accounts_disconnect_next_at ON oauth_accounts (disconnect_next_at) WHERE disconnect_next_at IS NOT NULL;

-- Accounts that their users had disconnected, and that are others' now, under other
-- ids. Who asks a provider that their data be deleted means these too.
CREATE TABLE former_accounts (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  provider text NOT NULL,
  provider_account_id text NOT NULL,
  callback_id text,
  erase boolean NOT NULL DEFAULT false             -- it was asked for: the content of its publishes goes, then the row
);
CREATE INDEX former_accounts_user ON former_accounts (user_id);
CREATE INDEX former_accounts_provider_account_id ON former_accounts (provider, provider_account_id);
CREATE INDEX former_accounts_callback_id ON former_accounts (provider, callback_id);
CREATE INDEX former_accounts_erase ON former_accounts (id) WHERE erase;

-- Keys that were taken out of the keyset. What one of them sealed opens nowhere.
CREATE TABLE retired_keys (
  prefix bytea PRIMARY KEY CHECK (length(prefix) = 5), -- how everything begins that it sealed
  retired_at timestamptz NOT NULL DEFAULT now()
);

-- A process that cannot read the keyset as it is now goes on sealing with the keys
-- that it has: it loses no token, because none is taken that a retired key sealed.
CREATE FUNCTION oauth_accounts_open() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $function$
BEGIN
  IF EXISTS (SELECT FROM public.retired_keys WHERE prefix IN (substring(NEW.access_token FOR 5), substring(NEW.refresh_token FOR 5))) THEN
    RAISE EXCEPTION 'a key sealed this token that was taken out of the keyset: the process does not read POSTBUS_KEYSET as it is now'
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN NEW;
END
$function$;
CREATE TRIGGER oauth_accounts_open BEFORE INSERT OR UPDATE OF access_token, refresh_token ON oauth_accounts
  FOR EACH ROW EXECUTE FUNCTION oauth_accounts_open();

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

-- One row a publish. The id is events.PublishID(event_source, event_id); a
-- tombstone that a cancel by publish id left knows neither.
CREATE TABLE publishes (
  id uuid PRIMARY KEY,
  event_source text,
  event_id text,
  account_id uuid,                          -- no foreign key: history outlives the account
  user_id uuid,
  provider text,
  media_type text,
  request bytea,                            -- data of publish.requested, byte for byte; blanked when its user is deleted
  request_sha256 bytea CHECK (length(request_sha256) = 32),
  content_sha256 bytea CHECK (length(content_sha256) = 32), -- what a reader of the post could compare
  state text NOT NULL CHECK (state IN ('accepted', 'ready', 'armed', 'unknown', 'confirming', 'unconfirmed',
                                       'completed', 'failed', 'canceled', 'tombstone')),
  checkpoint bytea,
  due_at timestamptz NOT NULL,
  next_at timestamptz,                      -- when a step may run; null when nothing is left to do
  expires_at timestamptz NOT NULL,
  fresh_until timestamptz,                  -- the preparation is good until then
  attempt integer NOT NULL DEFAULT 0,       -- commits armed so far
  failures integer NOT NULL DEFAULT 0,      -- retries in a row, for the backoff
  looks integer NOT NULL DEFAULT 0,         -- read-backs of this attempt, later of the watch
  armed_at timestamptz,
  send_by timestamptz,
  quiet_at timestamptz,
  unconfirmed_at timestamptz,               -- publish.unconfirmed was emitted; at most once
  scheduled boolean NOT NULL DEFAULT false, -- publish.scheduled was emitted
  delay_reason text,                        -- of the last publish.delayed; null when it runs
  remote_id text,
  result jsonb,
  error jsonb,
  traceparent text NOT NULL DEFAULT '',
  tracestate text NOT NULL DEFAULT '',
  step_at timestamptz,                      -- when the last step ended
  version bigint NOT NULL DEFAULT 1,
  accepted_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  blanked_at timestamptz,                   -- its content was deleted with its account
  CONSTRAINT publishes_ended CHECK ((state IN ('completed', 'failed', 'canceled', 'tombstone')) = (ended_at IS NOT NULL)),
  CONSTRAINT publishes_next CHECK (state NOT IN ('accepted', 'ready', 'armed', 'unknown', 'confirming') OR next_at IS NOT NULL),
  CONSTRAINT publishes_ended_rests CHECK (ended_at IS NULL OR next_at IS NULL),
  CONSTRAINT publishes_armed CHECK (state NOT IN ('armed', 'unknown', 'confirming', 'unconfirmed')
    OR (armed_at IS NOT NULL AND send_by IS NOT NULL AND quiet_at IS NOT NULL AND attempt > 0)),
  CONSTRAINT publishes_quiet CHECK (quiet_at >= send_by),
  CONSTRAINT publishes_result CHECK ((state = 'completed') = (result IS NOT NULL)),
  CONSTRAINT publishes_error CHECK (state NOT IN ('failed', 'unconfirmed') OR error IS NOT NULL),
  CONSTRAINT publishes_works_for CHECK (state IN ('failed', 'canceled', 'tombstone') OR (account_id IS NOT NULL AND provider IS NOT NULL)),
  CONSTRAINT publishes_blanked CHECK (blanked_at IS NULL OR (request IS NULL AND request_sha256 IS NULL AND content_sha256 IS NULL AND checkpoint IS NULL
    AND result - 'postId' - 'timestamp' = '{"permalink": null, "caption": ""}'
    AND error - 'code' - 'providerCode' - 'providerRequestId' = '{"message": "deleted with the account"}'))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX publishes_lane ON publishes (account_id, state, next_at) WHERE next_at IS NOT NULL; -- the states apart: see job.earliest
CREATE UNIQUE INDEX publishes_one_armed ON publishes (account_id) WHERE state IN ('armed', 'unknown');
CREATE UNIQUE INDEX publishes_remote ON publishes (provider, account_id, remote_id) WHERE remote_id IS NOT NULL;
CREATE INDEX publishes_unconfirmed ON publishes (account_id, content_sha256) WHERE state = 'unconfirmed';
CREATE INDEX publishes_user ON publishes (user_id, accepted_at DESC, id DESC);
CREATE INDEX publishes_ended_at ON publishes (ended_at) WHERE ended_at IS NOT NULL;

-- Append-only: what was tried, for the people who debug it.
CREATE TABLE publish_attempts (
  id uuid PRIMARY KEY,
  publish_id uuid NOT NULL,
  attempt integer NOT NULL,
  armed_at timestamptz,                     -- of that attempt; null before the first
  step text NOT NULL,                       -- prepare, commit, confirm, find, or the proof that came too late
  call text NOT NULL DEFAULT '',            -- the connector's name of the provider call
  outcome text NOT NULL,
  provider_request_id text NOT NULL DEFAULT '',
  provider_code text NOT NULL DEFAULT '',
  http_status integer NOT NULL DEFAULT 0,
  message text NOT NULL DEFAULT '',
  duration_ms integer NOT NULL DEFAULT 0,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX publish_attempts_publish ON publish_attempts (publish_id, at);

-- The lease of an account's publishes. While a lane is held and nothing new
-- came, next_at = until; a lower next_at tells the owner to look again.
CREATE TABLE account_lanes (
  account_id uuid PRIMARY KEY,
  owner uuid,
  fence bigint NOT NULL DEFAULT 0,
  until timestamptz,
  armed uuid,                               -- the one publish that may be at the provider
  next_at timestamptz,
  account_version bigint NOT NULL DEFAULT 0, -- the newest that an event told of: an account row read before it is stale
  link_version bigint NOT NULL DEFAULT 0,   -- of the last account.connected or account.disconnecting
  draining bytea,                           -- that account.disconnecting until it is answered: it names the user
  draining_at timestamptz,                  -- since then nothing is accepted or armed
  drained_at timestamptz,                   -- account.drained was emitted
  CONSTRAINT account_lanes_held CHECK ((owner IS NULL) = (until IS NULL)),
  CONSTRAINT account_lanes_held_is_seen CHECK (owner IS NULL OR next_at IS NOT NULL),
  CONSTRAINT account_lanes_drains CHECK ((drained_at IS NOT NULL OR (draining IS NULL) = (draining_at IS NULL)) AND (drained_at IS NULL OR draining_at IS NOT NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX account_lanes_next ON account_lanes (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX account_lanes_owner ON account_lanes (owner) WHERE owner IS NOT NULL;
CREATE INDEX account_lanes_draining ON account_lanes (draining_at) WHERE draining_at IS NOT NULL AND drained_at IS NULL;

-- A closed gate stops what it covers: rate limits, quotas, outages, pauses.
CREATE TABLE gates (
  scope text NOT NULL CHECK (scope IN ('all', 'provider', 'client', 'account')),
  key text NOT NULL,                        -- '' for all, provider, provider/client id, account id
  reason text NOT NULL,
  until timestamptz NOT NULL,               -- 'infinity' until a person opens it
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, key, reason),
  CONSTRAINT gates_all CHECK ((scope = 'all') = (key = ''))
);

-- What a fleet shares: calls used in a tenth of the period.
CREATE TABLE budgets (
  key text NOT NULL,
  window_start timestamptz NOT NULL,
  used bigint NOT NULL CHECK (used >= 0),
  PRIMARY KEY (key, window_start)
) WITH (fillfactor = 70);

-- Insert-only. A partition holds a day and is dropped whole.
CREATE TABLE outbox (
  id uuid NOT NULL,                         -- the event's id
  service text NOT NULL,                    -- whose relay sends it
  stream text NOT NULL,
  subject text NOT NULL,                    -- NATS subject = event type
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  event bytea NOT NULL,                     -- the CloudEvent as structured JSON
  created_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (created_at);
CREATE INDEX outbox_cursor_order ON outbox (service, xid, id);

CREATE TABLE outbox_cursors (
  service text NOT NULL,
  stream text NOT NULL,
  xid xid8 NOT NULL,
  id uuid NOT NULL,                         -- the last one sent: everything up to (xid, id) is on the stream
  stream_seq bigint NOT NULL DEFAULT 0,     -- the stream's sequence of the last ack
  system_identifier bigint NOT NULL,        -- of the cluster that xid belongs to
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (service, stream)
) WITH (fillfactor = 50);

-- Makes the outbox's partitions of today and of the given number of days ahead
-- where they are missing, a day (UTC) each, and returns how many it made. They
-- are created aside and attached, which lets writers go on. It gives up
-- (lock_not_available) rather than wait long; call it again then.
CREATE FUNCTION outbox_make_partitions(days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '2s'
SET timezone = 'UTC'
AS $function$
DECLARE
  day date;
  part text;
  made integer := 0;
BEGIN
  IF days IS NULL OR days NOT BETWEEN 0 AND 366 THEN
    RAISE EXCEPTION 'days ahead must be between 0 and 366, not %', days USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('public.outbox partitions', 0));
  FOR i IN 0..days LOOP
    day := now()::date + i;
    part := 'outbox_' || to_char(day, 'YYYYMMDD');
    CONTINUE WHEN to_regclass(format('public.%I', part)) IS NOT NULL;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.outbox INCLUDING ALL)', part);
    EXECUTE format('ALTER TABLE public.outbox ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
      part, day::timestamptz, (day + 1)::timestamptz);
    made := made + 1;
  END LOOP;
  RETURN made;
END
$function$;

-- Drops the outbox's partitions that ended at least the given number of days
-- ago and whose rows were all sent, and returns how many. Sent means that a
-- cursor which counts in this very cluster's transaction ids is at or past the
-- row; what has no cursor was not sent. Dropping stops writers for a moment,
-- so that it gives up at once where it has to wait: call it in a transaction
-- of its own, and again later.
CREATE FUNCTION outbox_drop_partitions(keep_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '200ms'
SET timezone = 'UTC'
AS $function$
DECLARE
  part text;
  unsent boolean;
  dropped integer := 0;
BEGIN
  IF keep_days IS NULL OR keep_days < 1 THEN
    RAISE EXCEPTION 'at least one day must be kept, not %', keep_days USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('public.outbox partitions', 0));
  FOR part IN
    SELECT c.relname
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'public.outbox'::regclass
      AND (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz <= (now()::date - keep_days)::timestamptz
    ORDER BY c.relname
  LOOP
    -- Writers are kept out first, so that what is seen next stays true.
    EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', part);
    EXECUTE format(
      'SELECT EXISTS (SELECT FROM public.%I o WHERE NOT EXISTS (
         SELECT FROM public.outbox_cursors c
         WHERE c.service = o.service AND c.stream = o.stream AND (c.xid, c.id) >= (o.xid, o.id)
           AND c.system_identifier = (SELECT system_identifier FROM pg_control_system())))', part)
      INTO unsent;
    CONTINUE WHEN unsent;
    EXECUTE format('DROP TABLE public.%I', part);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
  RETURN 0; -- what was dropped in this call is there again
END
$function$;

-- Deletes the content of a user's publishes, or of those of one account of hers,
-- and returns how many it blanked: what was asked for, what was prepared, what
-- the provider and we said in words. What happened stays: states, times, codes,
-- the post's id. (A permalink goes: its path may repeat title and user name.) The
-- version moves, so that nobody writes back what he had read. It locks in the
-- order of everybody else. Where no user is named the account must still be there.
-- A call blanks 1000 at the most, so that none holds up the relays, and returns the
-- last that it looked at: the next call goes on after that one, until there is none.
-- (Its plan knows little of the user: it would read and sort all that is left.
-- Without bitmaps it walks along the index.)
CREATE FUNCTION publishes_blank(p_user uuid, p_account uuid, p_after timestamptz, p_after_id uuid) RETURNS TABLE (blanked bigint, last timestamptz, last_id uuid)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
  owner uuid := coalesce(p_user, (SELECT user_id FROM public.oauth_accounts WHERE id = p_account));
BEGIN
  IF owner IS NULL THEN
    RAISE EXCEPTION 'neither a user is named nor an account that is there' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN QUERY WITH page AS MATERIALIZED (
    SELECT id, accepted_at FROM public.publishes
    WHERE user_id = owner AND (accepted_at, id) > (coalesce(p_after, '-infinity'), coalesce(p_after_id, '00000000-0000-0000-0000-000000000000'))
      AND (p_account IS NULL OR account_id = p_account) AND blanked_at IS NULL
    ORDER BY accepted_at, id LIMIT 1000
  ), batch AS MATERIALIZED (
    SELECT p.id FROM public.publishes p JOIN page ON page.id = p.id WHERE p.blanked_at IS NULL ORDER BY p.id FOR UPDATE OF p
  ), gone AS (
    UPDATE public.publishes p SET
      request = NULL, request_sha256 = NULL, content_sha256 = NULL, checkpoint = NULL,
      result = CASE WHEN p.result IS NOT NULL THEN
        jsonb_build_object('postId', p.result -> 'postId', 'permalink', NULL, 'timestamp', p.result -> 'timestamp', 'caption', '') END,
      error = CASE WHEN p.error IS NOT NULL THEN
        jsonb_build_object('code', p.error -> 'code', 'message', 'deleted with the account') || jsonb_strip_nulls(
          jsonb_build_object('providerCode', p.error -> 'providerCode', 'providerRequestId', p.error -> 'providerRequestId')) END,
      blanked_at = clock_timestamp(), version = p.version + 1
    FROM batch WHERE p.id = batch.id
    RETURNING p.id
  ), quiet AS (
    UPDATE public.publish_attempts a SET message = '' FROM gone WHERE a.publish_id = gone.id AND a.message <> ''
  )
  SELECT (SELECT count(*) FROM gone), page.accepted_at, page.id FROM page ORDER BY page.accepted_at DESC, page.id DESC LIMIT 1;
END
$function$;

-- As services of before call it: each time from the first publish on.
CREATE FUNCTION publishes_blank(p_user uuid, p_account uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $function$
  SELECT coalesce((SELECT blanked FROM public.publishes_blank(p_user, p_account, NULL, NULL)), 0)
$function$;

REVOKE ALL ON FUNCTION outbox_make_partitions(integer), outbox_drop_partitions(integer), publishes_blank(uuid, uuid, timestamptz, uuid), publishes_blank(uuid, uuid), oauth_accounts_open() FROM PUBLIC;

-- What each service may do, as the role that it logs in as (roles.sql makes
-- them). Nobody but the owner may TRUNCATE, or take anything out of the outbox.
GRANT USAGE ON SCHEMA public TO postbus_account, postbus_publisher, postbus_refresher;

GRANT SELECT, INSERT, UPDATE, DELETE ON users, api_keys, oauth_accounts, former_accounts, connect_links, connect_states, provider_callbacks, budgets TO postbus_account;
GRANT SELECT ON gates TO postbus_account;
GRANT SELECT, INSERT ON retired_keys TO postbus_account;
GRANT EXECUTE ON FUNCTION publishes_blank(uuid, uuid, timestamptz, uuid), publishes_blank(uuid, uuid) TO postbus_account;

-- The publisher has no use for refresh tokens.
GRANT SELECT ON users, api_keys TO postbus_publisher;
GRANT UPDATE (last_used_at) ON api_keys TO postbus_publisher;
GRANT SELECT (id, user_id, provider, provider_account_id, username, access_token, token_type, scope, expires_at, refresh_expires_at, metadata, status, token_version,
  version, refresh_after, lease_owner, lease_until, send_by, quiet_at, failure_count, failure_class, failed_at, expiring_told, created_at, updated_at, disconnect_reason,
  disconnecting_at, disconnect_next_at, drained_at, erase, disconnect_version, connected_at) ON oauth_accounts TO postbus_publisher;
GRANT SELECT, INSERT, UPDATE, DELETE ON publishes, gates, budgets TO postbus_publisher;
GRANT SELECT, INSERT, DELETE ON publish_attempts TO postbus_publisher;
GRANT SELECT, INSERT, UPDATE ON account_lanes TO postbus_publisher;

GRANT SELECT ON users, oauth_accounts, gates, retired_keys TO postbus_refresher;
GRANT UPDATE (access_token, refresh_token, token_type, scope, expires_at, refresh_expires_at, status, token_version, version, refresh_after, lease_owner, lease_until,
  send_by, quiet_at, failure_count, failure_class, failed_at, expiring_told, updated_at) ON oauth_accounts TO postbus_refresher;
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

-- An event can be appended from the first moment on.
SELECT outbox_make_partitions(7);
