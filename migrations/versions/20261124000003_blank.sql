-- Blanking tens of thousands of publishes takes longer than a statement may, and a
-- writing transaction holds up every relay: it goes a thousand at a time.
CREATE OR REPLACE FUNCTION publishes_blank(p_user uuid, p_account uuid) RETURNS bigint
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
  WITH batch AS MATERIALIZED (
    SELECT id FROM public.publishes
    WHERE user_id = owner AND (p_account IS NULL OR account_id = p_account) AND blanked_at IS NULL
    ORDER BY id LIMIT 1000 FOR UPDATE
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
  SELECT count(*) INTO blanked FROM gone;
  RETURN blanked;
END
$function$;
