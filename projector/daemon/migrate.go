package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/migrations"
)

func newMigrate(p *program) *cobra.Command {
	return holder("migrate", "Look after the tables in Postgres that do not belong to a read model",
		`Workers migrate by themselves, where their user may. Where it may not, somebody who may
runs migrate up before the new version of the program starts.`,
		newMigrateUp(p), newMigrateStatus(p))
}

// migrationView is a migration.
type migrationView struct {
	Version int64     `json:"version"`
	File    string    `json:"file"`
	Applied time.Time `json:"applied,omitzero"`
}

type migrationsView struct {
	Schema     string          `json:"schema"`
	Missing    int             `json:"missing"`
	Migrations []migrationView `json:"migrations"`
}

func (v migrationsView) show(p *page) {
	var rows [][]string
	for _, m := range v.Migrations {
		applied := "missing"
		if !m.Applied.IsZero() {
			applied = m.Applied.Local().Format(time.DateTime)
		}
		rows = append(rows, []string{fmt.Sprint(m.Version), m.File, applied})
	}
	p.table([]string{"VERSION", "FILE", "APPLIED"}, rows)
	if v.Missing > 0 {
		p.line("%s missing in schema %s: migrate up applies them", many(v.Missing, "migration"), v.Schema)
	} else {
		p.line("schema %s is up to date", v.Schema)
	}
}

func newMigrateUp(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Apply what migrations are missing",
		Long: `Creates the schema of the namespace where it is missing, and applies the migrations it
lacks, each entirely or not at all. Calling it again, or at several places at once, is
harmless.`,
		Example: "  " + p.app.name() + " migrate up --postgres-url postgres://owner@127.0.0.1:5432/shop",
		Args:    arguments(),
		RunE: p.onPostgres(func(ctx context.Context, pool *pgxpool.Pool) error {
			if err := migrations.Apply(ctx, pool, p.Namespace); err != nil {
				return err
			}
			_, err := p.migrations(ctx, pool)
			return err
		}),
	}
}

func newMigrateStatus(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the migrations, and which are missing",
		Long: `Lists the migrations this program knows, and when they were applied. It changes nothing.

It ends with code 3 where one is missing.`,
		Example: "  " + p.app.name() + " migrate status -o json | jq .missing",
		Args:    arguments(),
		RunE: p.onPostgres(func(ctx context.Context, pool *pgxpool.Pool) error {
			missing, err := p.migrations(ctx, pool)
			if err == nil && missing > 0 {
				err = fail(exitWrong, "%s missing: %s applies what is", many(missing, "migration"), p.call("migrate up"))
			}
			return err
		}),
	}
}

// migrations prints the migrations, and returns how many are missing.
func (p *program) migrations(ctx context.Context, pool *pgxpool.Pool) (missing int, _ error) {
	all, err := migrations.Status(ctx, pool, p.Namespace)
	if err != nil {
		return 0, err
	}
	v := migrationsView{Schema: p.Namespace}
	for _, m := range all {
		v.Migrations = append(v.Migrations, migrationView{m.Version, m.File, m.Applied})
		if m.Applied.IsZero() {
			v.Missing++
		}
	}
	return v.Missing, p.print(v)
}

// onPostgres returns what runs a command that needs the Postgres and nothing else.
func (p *program) onPostgres(run func(context.Context, *pgxpool.Pool) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		pool, err := p.postgresPool(cmd.Context())
		if err != nil {
			return err
		}
		if pool == nil {
			return usage("no Postgres is named: --postgres-url or %s says which", env("postgres-url"))
		}
		defer closePool(pool)
		if err := ping(cmd.Context(), pool, p.ConnectTimeout); err != nil {
			return err
		}
		return run(cmd.Context(), pool)
	}
}
