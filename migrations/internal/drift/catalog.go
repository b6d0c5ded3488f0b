package drift

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
)

// catalogQuery describes what a schema consists of, an object a row: its kind
// and name, and everything that makes it what it is. The days of the outbox and
// the table of applied migrations are not part of the schema. Rights are sorted:
// their order only tells in which order they were given.
const catalogQuery = `
WITH ours AS (
  SELECT c.*, n.nspname || '.' || c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'atlas_schema_revisions')
    AND n.nspname NOT LIKE 'pg_temp%' AND n.nspname NOT LIKE 'pg_toast_temp%'
    AND NOT c.relispartition
)
SELECT 'relation ' || name,
  format('kind %s, persistence %s, partitioned by %s, options %s, row security %s %s, replica identity %s, access method %s, rights %s',
    relkind, relpersistence, CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) END,
    (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) o), relrowsecurity, relforcerowsecurity, relreplident,
    (SELECT amname FROM pg_am WHERE pg_am.oid = relam), (SELECT array_agg(a ORDER BY a) FROM unnest(relacl::text[]) a))
FROM ours WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL
SELECT format('column %s.%s', name, attname),
  format('position %s, type %s, not null %s, default %s, generated %s, identity %s, collation %s, storage %s, compression %s, statistics %s, rights %s',
    row_number() OVER (PARTITION BY ours.oid ORDER BY attnum), format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
    attgenerated, attidentity, attcollation::regcollation, attstorage, attcompression, attstattarget, (SELECT array_agg(a ORDER BY a) FROM unnest(attacl::text[]) a))
FROM ours JOIN pg_attribute ON attrelid = ours.oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index ' || name, format('%s, options %s, valid %s, unique %s, replica identity %s', pg_get_indexdef(ours.oid), reloptions, indisvalid, indisunique, indisreplident)
FROM ours JOIN pg_index ON indexrelid = ours.oid
UNION ALL
SELECT format('constraint %s on %s', conname, ours.name), format('%s, validated %s', pg_get_constraintdef(k.oid), convalidated)
FROM pg_constraint k JOIN ours ON ours.oid = conrelid
UNION ALL
SELECT format('trigger %s on %s', tgname, ours.name), format('%s, enabled %s', pg_get_triggerdef(t.oid), tgenabled)
FROM pg_trigger t JOIN ours ON ours.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT format('policy %s on %s', polname, ours.name),
  format('command %s, permissive %s, roles %s, using %s, check %s', polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
FROM pg_policy JOIN ours ON ours.oid = polrelid
UNION ALL
SELECT format('rule %s on %s', rulename, ours.name), pg_get_ruledef(r.oid)
FROM pg_rewrite r JOIN ours ON ours.oid = ev_class
UNION ALL
SELECT 'function ' || p.oid::regprocedure, format('%s, rights %s', pg_get_functiondef(p.oid), (SELECT array_agg(a ORDER BY a) FROM unnest(proacl::text[]) a))
FROM pg_proc p WHERE pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema') AND prokind IN ('f', 'p')
UNION ALL
SELECT 'type ' || t.oid::regtype, format('kind %s, base %s, default %s, values %s', typtype, nullif(typbasetype, 0)::regtype, typdefault,
  (SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
FROM pg_type t WHERE typnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'atlas_schema_revisions') AND typtype IN ('e', 'd', 'r')
UNION ALL
SELECT 'comment on ' || pg_describe_object(classoid, objoid, objsubid), description
FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'schema ' || nspname, format('rights %s', (SELECT array_agg(a ORDER BY a) FROM unnest(nspacl::text[]) a))
FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('information_schema', 'atlas_schema_revisions')
UNION ALL
SELECT 'extension ' || extname, extversion FROM pg_extension
UNION ALL
SELECT 'default rights in ' || defaclnamespace::regnamespace::text || ' of ' || defaclobjtype::text, defaclacl::text FROM pg_default_acl`

// catalog reads the schema of a database, an object a key.
func catalog(ctx context.Context, db *sql.DB) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, catalogQuery)
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	defer func() { _ = rows.Close() }()
	objects := map[string]string{}
	for rows.Next() {
		var name, definition string
		if err := rows.Scan(&name, &definition); err != nil {
			return nil, fmt.Errorf("read catalog: %w", err)
		}
		objects[name] = definition
	}
	return objects, rows.Err()
}

// compare lists the objects that differ, in words.
func compare(from, to map[string]string) (differences []string) {
	names := maps.Clone(from)
	maps.Copy(names, to)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, was := from[name]
		after, is := to[name]
		switch {
		case !was:
			differences = append(differences, fmt.Sprintf("%s is missing: %s", name, after))
		case !is:
			differences = append(differences, fmt.Sprintf("%s is too many: %s", name, before))
		case before != after:
			differences = append(differences, fmt.Sprintf("%s is %s, and should be %s", name, before, after))
		}
	}
	return differences
}
