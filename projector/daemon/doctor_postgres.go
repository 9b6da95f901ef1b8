package daemon

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/migrations"
)

var postgresChecks = []check{
	{name: "postgres", needs: namesPostgres, worst: isError, run: meetPostgres,
		looks: "whether Postgres answers, and lets the user in",
		fix:   "start it, mend `postgres-url` or the password, open the way to it"},
	{name: "postgres-version", needs: needsPostgres, worst: isError, run: ofFacts(versionFindings),
		looks: "the version: 11 is the oldest that the migrations work on; whether it still gets fixes",
		fix:   "upgrade the server"},
	{name: "postgres-writable", needs: needsPostgres, worst: isError, run: ofFacts(writableFindings),
		looks: "whether it is a standby, or read-only",
		fix:   "name the primary; `ALTER ROLE … RESET default_transaction_read_only`"},
	{name: "postgres-durability", needs: needsPostgres, worst: isError, run: ofFacts(durabilityFindings),
		looks: "`fsync`, `full_page_writes` and `synchronous_commit`",
		fix:   "`ALTER SYSTEM SET … = on`"},
	{name: "postgres-connections", needs: needsPostgres, worst: isWarning, run: ofFacts(connectionFindings),
		looks: "connections near `max_connections`",
		fix:   "raise `max_connections`, or `pool_max_conns` in `postgres-url` lower"},
	{name: "postgres-transactions", needs: needsPostgres, worst: isWarning, run: lookAtTransactions,
		looks: "transactions, prepared ones and replication slots that have kept vacuum from working for long",
		fix:   "end them: `SELECT pg_terminate_backend(…)`"},
	{name: "postgres-clock", needs: needsPostgres, worst: isWarning, run: lookAtPostgresClock,
		looks: "how far the clocks of this machine and of Postgres are apart",
		fix:   "have both set by NTP"},
	{name: "migrations", needs: needsPostgres, worst: isError, run: lookAtMigrations,
		looks: "migrations that are missing in the schema of the namespace, or that only a newer program knows",
		fix:   "`migrate up`; upgrade this program"},
	{name: "bloat", needs: needsPostgres, worst: isWarning, run: lookAtBloat,
		looks: "dead rows in the tables of the schema, and whether autovacuum is on",
		fix:   "`VACUUM`; `ALTER TABLE … RESET (autovacuum_enabled)`"},
	{name: "fillfactor", needs: needsPostgres, worst: isWarning, run: lookAtFillfactor,
		looks: "`fillfactor` of tables that are updated all the time: 50 to 70 keeps updates out of the indexes",
		fix:   "`ALTER TABLE … SET (fillfactor = 50)`"},
}

// facts are what a Postgres says of itself.
type facts struct {
	address                                       string
	version                                       int // 150018
	versionText                                   string
	standby                                       bool
	readOnly                                      string
	fsync, fullPageWrites, synchronousCommit      string
	autovacuum                                    string
	connections, maxConnections, keptForSupers    int64
	user, database                                string
	mayCreateSchema, schemaThere, mayCreateTables bool
}

func (f *facts) subject() string { return "postgres " + f.address }

func (f *facts) at(how severity, found, evidence, fix string) finding {
	return finding{Severity: how, Subject: f.subject(), Finding: found, Evidence: evidence, Fix: fix}
}

// postgresAddress is where the Postgres is, without user and password.
func (p *patient) postgresAddress() string {
	c := p.pool.Config().ConnConfig
	return fmt.Sprintf("%s:%d/%s", c.Host, c.Port, c.Database)
}

const factsQuery = `SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
	current_setting('default_transaction_read_only'), current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
	current_setting('autovacuum'), (SELECT sum(numbackends)::bigint FROM pg_stat_database), current_setting('max_connections')::bigint, current_setting('superuser_reserved_connections')::bigint,
	current_user::text, current_database()::text, has_database_privilege(current_database(), 'CREATE'),
	EXISTS (SELECT FROM pg_namespace WHERE nspname = $1), COALESCE((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1), false)`

// meetPostgres is the check that all others on Postgres come after.
func meetPostgres(ctx context.Context, p *patient) ([]finding, error) {
	f := &facts{address: p.postgresAddress()}
	err := p.pool.QueryRow(ctx, factsQuery, p.Namespace).Scan(&f.version, &f.versionText, &f.standby, &f.readOnly, &f.fsync, &f.fullPageWrites, &f.synchronousCommit,
		&f.autovacuum, &f.connections, &f.maxConnections, &f.keptForSupers, &f.user, &f.database, &f.mayCreateSchema, &f.schemaThere, &f.mayCreateTables)
	if err == nil {
		p.postgres = f
		return nil, nil
	}
	return []finding{p.noPostgres(f, err)}, nil
}

// noPostgres is the finding that a Postgres does not answer as it should.
func (p *patient) noPostgres(f *facts, err error) finding {
	found := f.at(isError, "Postgres cannot be reached", p.scrubbed(err.Error()), "")
	switch {
	case pgerr.In(err, "28"):
		found.Finding = "Postgres does not let this user in"
		found.Fix = fmt.Sprintf("check the user in %s and the password in it or in the file of %s; pg_hba.conf on the server says who may come from where", p.where("postgres-url"), env("postgres-password")+"_FILE")
	case pgerr.In(err, "3D000"):
		found.Finding = "the database does not exist"
		found.Fix = "create it: createdb " + p.pool.Config().ConnConfig.Database + "; or name another in " + p.where("postgres-url")
	case pgerr.In(err, "53300"):
		found.Finding = "Postgres has no connection left"
		found.Fix = "see who has them: SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2; raise max_connections"
	case pgerr.In(err, "57P03"):
		found.Finding = "Postgres is starting or stopping"
		found.Fix = "wait for it; its log says what it does"
	default:
		if errors.Is(err, context.DeadlineExceeded) {
			found.Evidence = fmt.Sprintf("no answer within %s: %s", p.ConnectTimeout, found.Evidence)
		}
		found.Fix = fmt.Sprintf("see whether the server runs and listens on that address: pg_isready there, systemctl status postgresql, listen_addresses and port;\nsee whether the address and sslmode in %s are right, and a firewall lets this machine through", p.where("postgres-url"))
	}
	return found
}

// ofFacts makes a check out of one of what a Postgres says of itself.
func ofFacts(look func(*patient, *facts) []finding) func(context.Context, *patient) ([]finding, error) {
	return func(_ context.Context, p *patient) ([]finding, error) { return look(p, p.postgres), nil }
}

// oldestPostgres is the oldest version that the migrations work on: they lock by
// hashtextextended.
const oldestPostgres = 11

// supportEnds is when versions of Postgres cease to get fixes.
var supportEnds = map[int]string{11: "2023-11-09", 12: "2024-11-21", 13: "2025-11-13", 14: "2026-11-12", 15: "2027-11-11", 16: "2028-11-09", 17: "2029-11-08", 18: "2030-11-14"}

func versionFindings(p *patient, f *facts) []finding {
	major := f.version / 10000
	end, known := supportEnds[major]
	switch {
	case major < oldestPostgres:
		return []finding{f.at(isError, fmt.Sprintf("this version is too old: %d or newer is needed", oldestPostgres), "server_version = "+f.versionText, "upgrade it with pg_upgrade or by a dump to a version that still gets fixes")}
	case known && p.now().UTC().Format(time.DateOnly) > end:
		return []finding{f.at(isWarning, "this version gets no fixes any more since "+end, "server_version = "+f.versionText, "upgrade it with pg_upgrade or by a dump to a version that still gets fixes")}
	}
	return nil
}

func writableFindings(p *patient, f *facts) []finding {
	switch {
	case f.standby:
		return []finding{f.at(isError, "this is a standby, which cannot be written to", "pg_is_in_recovery() = true",
			"name the primary in "+p.where("postgres-url")+", or all of them with target_session_attrs=read-write; where the primary is lost: SELECT pg_promote()")}
	case f.readOnly == "on":
		return []finding{f.at(isError, "it is read-only: nothing can be written to read models", "default_transaction_read_only = on",
			fmt.Sprintf("ALTER ROLE %s RESET default_transaction_read_only; ALTER DATABASE %s RESET default_transaction_read_only;\nwhere it is in postgresql.conf: ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf();", inSQL(f.user), inSQL(f.database)))}
	}
	return nil
}

// inSQL writes the name of something in SQL.
func inSQL(names ...string) string { return pgx.Identifier(names).Sanitize() }

func alterSystem(name, value string) string {
	return fmt.Sprintf("ALTER SYSTEM SET %s = %s; SELECT pg_reload_conf();", name, value)
}

func durabilityFindings(_ *patient, f *facts) (found []finding) {
	if f.fsync == "off" {
		found = append(found, f.at(isError, "after a crash of the machine the database may be damaged beyond repair", "fsync = off", alterSystem("fsync", "on")))
	}
	if f.fullPageWrites == "off" {
		found = append(found, f.at(isWarning, "after a crash of the machine pages may be half written", "full_page_writes = off", alterSystem("full_page_writes", "on")))
	}
	if f.synchronousCommit == "off" {
		found = append(found, f.at(isWarning, "a crash of the server loses commits that are settled in Redis already: those streams stand still until something new is appended to them, or audit --heal",
			"synchronous_commit = off", fmt.Sprintf("ALTER ROLE %s SET synchronous_commit = on;", inSQL(f.user))))
	}
	return found
}

func connectionFindings(_ *patient, f *facts) []finding {
	room := f.maxConnections - f.keptForSupers
	if room <= 0 || f.connections*100 < room*nearly {
		return nil
	}
	return []finding{f.at(isWarning, "there is hardly room for more connections", fmt.Sprintf("%d of max_connections = %d (%d of them kept for superusers)", f.connections, f.maxConnections, f.keptForSupers),
		"see who has them: SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2;\nhave each program take fewer by pool_max_conns in postgres-url, or ALTER SYSTEM SET max_connections = "+fmt.Sprint(2*f.maxConnections)+"; and restart the server")}
}

// longTransaction is how long a transaction may keep vacuum from working without being told of.
const longTransaction = 5 * time.Minute

// mostRows is how many rows a check asks a Postgres for at most.
const mostRows = 100

// horizon is what keeps vacuum from removing dead rows.
type horizon struct {
	what, name string
	age        time.Duration
	fix        string
}

// The text of queries is left out: it may hold data. A slot has no age.
const horizonsQuery = `SELECT 'transaction', format('pid %s, user %s, %s, %s', pid, usename, COALESCE(NULLIF(application_name, ''), 'unnamed'), state), extract(epoch FROM now() - xact_start)::float8, format('SELECT pg_terminate_backend(%s);', pid)
	FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start < now() - make_interval(secs => $1)
UNION ALL SELECT 'prepared transaction', gid, extract(epoch FROM now() - prepared)::float8, format('ROLLBACK PREPARED %L;', gid)
	FROM pg_prepared_xacts WHERE database = current_database() AND prepared < now() - make_interval(secs => $1)
UNION ALL SELECT 'replication slot', slot_name, 0, format('SELECT pg_drop_replication_slot(%L);', slot_name)
	FROM pg_replication_slots WHERE NOT active AND xmin IS NOT NULL
LIMIT $2`

// A session whose user another one may not look at has no type.
const hiddenQuery = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type IS NULL`

func lookAtTransactions(ctx context.Context, p *patient) ([]finding, error) {
	rows, err := p.pool.Query(ctx, horizonsQuery, p.long.Seconds(), mostRows)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h horizon, err error) {
		var seconds float64
		err = row.Scan(&h.what, &h.name, &seconds, &h.fix)
		h.age = time.Duration(seconds * float64(time.Second))
		return h, err
	})
	if err != nil {
		return nil, err
	}
	var hidden int64
	if err := p.pool.QueryRow(ctx, hiddenQuery).Scan(&hidden); err != nil {
		return nil, err
	}
	var found []finding
	if hidden > 0 {
		found = append(found, p.postgres.at(isInfo, "sessions of other users are hidden from this one: whether their transactions are old is not known", fmt.Sprintf("%d hidden in pg_stat_activity", hidden),
			fmt.Sprintf("GRANT pg_read_all_stats TO %s;", inSQL(p.postgres.user))))
	}
	for _, h := range all {
		evidence := h.name
		if h.age > 0 {
			evidence += ", for " + ago(h.age)
		}
		found = append(found, p.postgres.at(isWarning, "a "+h.what+" keeps vacuum from removing dead rows: tables grow, updates get slow", evidence, "see what it is for, then "+h.fix))
	}
	return found, nil
}

func lookAtPostgresClock(ctx context.Context, p *patient) ([]finding, error) {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	ahead, within, err := p.clockOffset(func() (at time.Time, err error) {
		err = conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at)
		return at, err
	})
	if err != nil {
		return nil, err
	}
	return clockFindings(p.postgres.subject(), ahead, within), nil
}

// migrationsTable is the table in which the package migrations keeps what was applied.
const migrationsTable = "_migrations"

func lookAtMigrations(ctx context.Context, p *patient) ([]finding, error) {
	all, err := migrations.Status(ctx, p.pool, p.Namespace)
	if err != nil {
		return nil, err
	}
	var newest int64
	table := inSQL(p.Namespace, migrationsTable)
	var there bool
	if err := p.pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there); err != nil {
		return nil, err
	}
	if there {
		if err := p.pool.QueryRow(ctx, "SELECT COALESCE(max(version_id), 0) FROM "+table+" WHERE is_applied").Scan(&newest); err != nil {
			return nil, err
		}
	}
	return migrationFindings(p, p.postgres, all, newest), nil
}

func migrationFindings(p *patient, f *facts, all []migrations.Migration, newest int64) []finding {
	subject := "schema " + p.Namespace
	var missing []string
	for _, m := range all {
		if m.Applied.IsZero() {
			missing = append(missing, m.File)
		}
	}
	up := p.call("migrate up") + ", as a user who owns the schema"
	known := all[len(all)-1].Version
	switch {
	case newest > known:
		return []finding{{Severity: isError, Subject: subject, Finding: "a newer program has changed it: this one refuses to work with it", Evidence: fmt.Sprintf("it is at migration %d, this program knows %d", newest, known),
			Fix: "upgrade this program to the version that runs elsewhere: " + p.call("version") + " there"}}
	case len(missing) == 0:
		return nil
	case len(missing) < len(all):
		return []finding{{Severity: isError, Subject: subject, Finding: "migrations are missing: workers of this version cannot work with it before", Evidence: "missing: " + strings.Join(missing, ", "), Fix: up}}
	case f.schemaThere && !f.mayCreateTables || !f.schemaThere && !f.mayCreateSchema:
		return []finding{{Severity: isError, Subject: subject, Finding: "it has none of the tables that workers need, and this user may not create them", Evidence: fmt.Sprintf("user = %s, missing: %s", f.user, strings.Join(missing, ", ")), Fix: up}}
	}
	return []finding{{Severity: isInfo, Subject: subject, Finding: "it has none of the tables that workers need yet; the first one creates them", Evidence: "missing: " + strings.Join(missing, ", "), Fix: p.call("run") + ", or " + p.call("migrate up")}}
}

const (
	// Of a table so many rows are dead, and such a share of all in percent, that it is told of.
	deadRows  = 10_000
	deadShare = 30
)

// tableState is how a table stands, as far as Postgres has counted.
type tableState struct {
	name         string
	live, dead   int64
	updates, hot int64
	vacuumed     *time.Time // nil where it never was
	fillfactor   string
	autovacuum   string
}

// Those with an @ are ledgers of what is being loaded: they are only added to.
const tablesQuery = `SELECT c.relname::text, COALESCE(s.n_live_tup, 0), COALESCE(s.n_dead_tup, 0), COALESCE(s.n_tup_upd, 0), COALESCE(s.n_tup_hot_upd, 0), greatest(s.last_vacuum, s.last_autovacuum),
	COALESCE((SELECT option_value FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), '100'),
	COALESCE((SELECT option_value FROM pg_options_to_table(c.reloptions) WHERE option_name = 'autovacuum_enabled'), 'true')
	FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
	WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind = 'r' AND c.relname <> $2 AND strpos(c.relname, '@') = 0
	ORDER BY COALESCE(s.n_dead_tup, 0) DESC, c.relname LIMIT $3`

// tables returns how the tables of the schema stand, those with most dead rows first.
func (p *patient) tables(ctx context.Context) ([]tableState, error) {
	rows, err := p.pool.Query(ctx, tablesQuery, p.Namespace, migrationsTable, mostRows)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t tableState, err error) {
		err = row.Scan(&t.name, &t.live, &t.dead, &t.updates, &t.hot, &t.vacuumed, &t.fillfactor, &t.autovacuum)
		return t, err
	})
}

func lookAtBloat(ctx context.Context, p *patient) (found []finding, _ error) {
	if p.postgres.autovacuum == "off" {
		found = append(found, p.postgres.at(isWarning, "autovacuum is off: nothing removes dead rows", "autovacuum = off", alterSystem("autovacuum", "on")))
	}
	all, err := p.tables(ctx)
	for _, t := range all {
		found = append(found, p.bloatFindings(t)...)
	}
	return found, err
}

func (p *patient) bloatFindings(t tableState) (found []finding) {
	name := inSQL(p.Namespace, t.name)
	subject := "table " + p.Namespace + "." + t.name
	vacuumed := "never"
	if t.vacuumed != nil {
		vacuumed = t.vacuumed.UTC().Format(time.RFC3339)
	}
	if t.autovacuum == "false" || t.autovacuum == "off" {
		found = append(found, finding{Severity: isWarning, Subject: subject, Finding: "autovacuum leaves it alone: nothing removes its dead rows", Evidence: "autovacuum_enabled = " + t.autovacuum,
			Fix: fmt.Sprintf("ALTER TABLE %s RESET (autovacuum_enabled);", name)})
	}
	if t.dead >= deadRows && t.dead*100 >= (t.live+t.dead)*deadShare {
		found = append(found, finding{Severity: isWarning, Subject: subject, Finding: "much of it is dead rows, which make it large and slow",
			Evidence: fmt.Sprintf("n_dead_tup = %d, n_live_tup = %d (%s dead), last vacuum %s", t.dead, t.live, percent(t.dead, t.live+t.dead), vacuumed),
			Fix:      fmt.Sprintf("VACUUM (ANALYZE) %s;\nwhere it comes to that again, have it vacuumed sooner: ALTER TABLE %[1]s SET (autovacuum_vacuum_scale_factor = 0.05); see the check postgres-transactions", name)})
	}
	return found
}

// mostFillfactor is the largest fillfactor that leaves room for new versions of rows.
const mostFillfactor = 70

func lookAtFillfactor(ctx context.Context, p *patient) (found []finding, _ error) {
	all, err := p.tables(ctx)
	for _, t := range all {
		found = append(found, p.fillfactorFindings(t)...)
	}
	return found, err
}

func (p *patient) fillfactorFindings(t tableState) []finding {
	if n, err := strconv.Atoi(t.fillfactor); err != nil || n <= mostFillfactor {
		return nil
	}
	name := inSQL(p.Namespace, t.name)
	evidence := "fillfactor = " + t.fillfactor
	if t.updates > 0 {
		evidence += fmt.Sprintf(", %s of %s updates stayed out of the indexes", percent(t.hot, t.updates), count(t.updates))
	}
	return []finding{{Severity: isWarning, Subject: "table " + p.Namespace + "." + t.name, Finding: "pages have no room for new versions of their rows: nearly every update goes to the indexes too", Evidence: evidence,
		Fix: fmt.Sprintf("ALTER TABLE %s SET (fillfactor = 50); that is for new pages: pg_repack, or VACUUM FULL %[1]s while nothing runs, does the old ones", name)}}
}
