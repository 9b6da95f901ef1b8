package pgsink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// columnsOf returns the columns of a table or view with their types, in order, none
// where it is not there.
func columnsOf(ctx context.Context, tx pgx.Tx, relation string) ([]definition, error) {
	rows, err := tx.Query(ctx, `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, relation)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d definition, err error) {
		return d, row.Scan(&d.name, &d.kind)
	})
}

// shows reports whether the view reads the table of a generation.
func (m *model) shows(ctx context.Context, tx pgx.Tx, g projector.Generation) (is bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
		WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
		AND d.refobjid = to_regclass($1) AND r.ev_class = to_regclass($2))`, m.table(g), m.view()).Scan(&is)
	return is, err
}

// viewOptions returns the options of the view, such as security_barrier, as they are
// written behind its name. CREATE OR REPLACE keeps none that it is not given.
func (m *model) viewOptions(ctx context.Context, tx pgx.Tx) (options string, err error) {
	err = tx.QueryRow(ctx, "SELECT COALESCE(' WITH (' || array_to_string(reloptions, ', ') || ')', '') FROM pg_class WHERE oid = to_regclass($1)",
		m.view()).Scan(&options)
	return options, err
}

// letOwnerRead lets the owner of the view, with whose rights it reads, read the table
// of a generation. That is somebody else where the view was given away.
func (m *model) letOwnerRead(ctx context.Context, tx pgx.Tx, g projector.Generation) error {
	grant, err := statements(ctx, tx, `SELECT format('GRANT SELECT ON %s TO %s', $2::text, relowner::regrole) FROM pg_class
		WHERE oid = to_regclass($1) AND NOT has_table_privilege(relowner, to_regclass($2), 'SELECT')`, m.view(), m.table(g))
	if err != nil {
		return err
	}
	return execAll(ctx, tx, grant...)
}

// keptOfView returns the statements that give a view which was made anew what it had.
func (m *model) keptOfView(ctx context.Context, tx pgx.Tx, columns []definition) ([]string, error) {
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	return statements(ctx, tx, keptOfView, m.view(), names)
}

// grantee is the name of an entry of an access list, for GRANT and REVOKE.
const grantee = `CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END`

// revokeDefaults selects statements that take back what ALTER DEFAULT PRIVILEGES gave
// to a view. Its owner keeps all.
const revokeDefaults = `SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', $1::text, ` + grantee + `)
	FROM pg_class c, aclexplode(c.relacl) acl WHERE c.oid = to_regclass($1) AND acl.grantee <> c.relowner`

// keptOfView selects statements for a view: its owner, privileges and comments, and
// those of the columns in $2. An owner who gave rights of his own away has fewer.
const keptOfView = `WITH view AS (SELECT * FROM pg_class WHERE oid = to_regclass($1)),
	kept AS (SELECT a.* FROM pg_attribute a JOIN view ON a.attrelid = view.oid WHERE attnum > 0 AND attname = ANY($2::text[]))
SELECT statement FROM (
	SELECT 1, format('ALTER VIEW %s OWNER TO %s', $1::text, relowner::regrole) FROM view WHERE relowner::regrole::text <> quote_ident(current_user)
	UNION ALL
	SELECT 2, format('REVOKE ALL ON %s FROM %s', $1::text, relowner::regrole) FROM view WHERE relacl IS NOT NULL
	UNION ALL
	SELECT 3, format('GRANT %s ON %s TO %s%s', acl.privilege_type, $1::text, ` + grantee + `, ` + withOption + `)
		FROM view, aclexplode(relacl) acl
	UNION ALL
	SELECT 3, format('GRANT %s (%I) ON %s TO %s%s', acl.privilege_type, attname, $1::text, ` + grantee + `, ` + withOption + `)
		FROM kept, aclexplode(attacl) acl
	UNION ALL
	SELECT 4, format('COMMENT ON VIEW %s IS %L', $1::text, obj_description(oid, 'pg_class')) FROM view
		WHERE obj_description(oid, 'pg_class') IS NOT NULL
	UNION ALL
	SELECT 4, format('COMMENT ON COLUMN %s.%I IS %L', $1::text, attname, col_description(attrelid, attnum)) FROM kept
		WHERE col_description(attrelid, attnum) IS NOT NULL
) AS all_of_it (place, statement) ORDER BY place`

// withOption ends the statement of a right that may be passed on.
const withOption = `CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END`

// statements returns the statements that a query selects.
func statements(ctx context.Context, tx pgx.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading what the view is like: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
