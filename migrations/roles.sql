-- The roles that the services log in as, one each. Roles belong to a cluster, not
-- to a database, so that no migration makes them: migrations only say what they
-- may do. This may be run any number of times and at once, by a role that may
-- create roles. They have no password until an operator gives them one:
--
--   ALTER ROLE postbus_publisher PASSWORD '...';
DO $body$
DECLARE
  service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['postbus_account', 'postbus_publisher', 'postbus_refresher'] LOOP
    IF to_regrole(service) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I LOGIN', service);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- somebody else made it meanwhile
      END;
    END IF;
  END LOOP;
END
$body$;
