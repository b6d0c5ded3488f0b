-- No token is taken that a key sealed which was taken out of the keyset.
CREATE TABLE retired_keys (
  prefix bytea PRIMARY KEY CHECK (length(prefix) = 5),
  retired_at timestamptz NOT NULL DEFAULT now()
);
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
REVOKE ALL ON FUNCTION oauth_accounts_open() FROM PUBLIC;
GRANT SELECT, INSERT ON retired_keys TO postbus_account;
GRANT SELECT ON retired_keys TO postbus_refresher;
