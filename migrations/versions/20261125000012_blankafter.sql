-- Blanking the publishes of a user read all of them again for each thousand.
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
REVOKE ALL ON FUNCTION publishes_blank(uuid, uuid, timestamptz, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION publishes_blank(uuid, uuid, timestamptz, uuid) TO postbus_account;
-- As services of before call it: each time from the first publish on.
CREATE OR REPLACE FUNCTION publishes_blank(p_user uuid, p_account uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $function$
  SELECT coalesce((SELECT blanked FROM public.publishes_blank(p_user, p_account, NULL, NULL)), 0)
$function$;
