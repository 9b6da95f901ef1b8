// Package migrations brings the tables that projectord itself needs in Postgres up
// to date. They lie in one schema per namespace, beside the read models. A change
// of theirs is one more file in sql/, numbered by one more than the last; a file
// that was released is never touched again. What the files name lies in the schema:
// they run with a search path of nothing else.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/pgerr"
)

//go:embed sql/*.sql
var files embed.FS

// table holds which migrations were applied.
const table = "_migrations"

// ErrNewer is wrapped by errors about a schema that a newer program has changed.
var ErrNewer = errors.New("the schema was made by a newer version of this program: upgrade this program")

// Apply creates the schema of a namespace where it is missing, and applies the
// migrations that it lacks. It is harmless to call it again and from any number of
// processes at once: one works, under an advisory lock of that schema, and the
// others wait for it. Each migration is applied entirely or not at all, and the
// lock ends with the process. It uses a connection of its own, with the settings of
// the pool.
//
// The error wraps [ErrNewer] where the schema has migrations that are not known
// here; nothing is changed then.
func Apply(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	return on(ctx, pool, schema, func(db *sql.DB, p *goose.Provider) error {
		if err := createSchema(ctx, db, schema); err != nil {
			return err
		}
		// This comes first because it makes the table of versions under the lock;
		// Up would make it without.
		version, err := p.GetDBVersion(ctx)
		if err != nil {
			return err
		}
		sources := p.ListSources()
		if newest := sources[len(sources)-1].Version; version > newest {
			return fmt.Errorf("%w (it is at migration %d, this program knows %d)", ErrNewer, version, newest)
		}
		_, err = p.Up(ctx)
		return err
	})
}

// Migration is one of the migrations this program knows.
type Migration struct {
	Version int64
	// File is the name of its file in sql/.
	File string
	// Applied is when it was applied, zero where it was not.
	Applied time.Time
}

// Status returns the migrations in their order. It changes nothing.
func Status(ctx context.Context, pool *pgxpool.Pool, schema string) ([]Migration, error) {
	var all []Migration
	err := on(ctx, pool, schema, func(db *sql.DB, p *goose.Provider) error {
		applied := make(map[int64]time.Time)
		var exists bool
		err := db.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists)
		if err != nil {
			return err
		}
		if exists {
			// Status of the provider would make the table.
			rows, err := db.QueryContext(ctx, "SELECT version_id, tstamp FROM "+table+" WHERE is_applied")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var version int64
				var at time.Time
				if err := rows.Scan(&version, &at); err != nil {
					return err
				}
				applied[version] = at
			}
			if err := rows.Err(); err != nil {
				return err
			}
		}
		for _, s := range p.ListSources() {
			all = append(all, Migration{Version: s.Version, File: s.Path, Applied: applied[s.Version]})
		}
		return nil
	})
	return all, err
}

// on calls f with a database whose connections see the schema alone.
func on(ctx context.Context, pool *pgxpool.Pool, schema string, f func(*sql.DB, *goose.Provider) error) error {
	if err := keyspace.CheckNamespace(schema); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	config := pool.Config()
	options := []stdlib.OptionOpenDB{stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if config.AfterConnect != nil {
			if err := config.AfterConnect(ctx, conn); err != nil {
				return err
			}
		}
		// The time zone is for now() in a column that has none.
		_, err := conn.Exec(ctx, "SET search_path TO "+pgx.Identifier{schema}.Sanitize()+"; SET TimeZone TO 'UTC'")
		return err
	})}
	if config.BeforeConnect != nil {
		options = append(options, stdlib.OptionBeforeConnect(config.BeforeConnect))
	}
	db := stdlib.OpenDB(*config.ConnConfig, options...)
	defer db.Close()
	// With one connection, whatever ends it ends the lock as well.
	db.SetMaxOpenConns(1)

	directory, err := fs.Sub(files, "sql")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, directory,
		goose.WithTableName(table), goose.WithSessionLocker(locker{schema}), goose.WithDisableGlobalRegistry(true))
	if err == nil {
		err = f(db, p)
	}
	if err != nil {
		return fmt.Errorf("migrations: schema %s: %w", schema, pgerr.Explain(err))
	}
	return nil
}

// createSchema creates the schema. Where it is there already, no right to create
// one is needed.
func createSchema(ctx context.Context, db *sql.DB, schema string) error {
	usable := func() (is bool, err error) {
		err = db.QueryRowContext(ctx, "SELECT current_schema() IS NOT NULL").Scan(&is)
		return is, err
	}
	if is, err := usable(); err != nil || is {
		return err
	}
	_, failed := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize())
	// IF NOT EXISTS does not keep two that start at once from colliding, so what
	// counts is what is there afterwards.
	is, err := usable()
	switch {
	case err == nil && is:
		return nil
	case failed != nil:
		return failed
	case err != nil:
		return err
	}
	return errors.New("the schema is there, but the user may not use it: it has to own the schema")
}
