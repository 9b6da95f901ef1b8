package daemon

import (
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// inPostgres returns the shop with all read models in Postgres, and one event.
func inPostgres(t *testing.T) *fixture {
	f := bare(t, tablesApp()).with(env("postgres-url") + "=" + testenv.Postgres(t))
	f.store()
	return f
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	f := inPostgres(t)
	f.want(exitWrong, words("migrate status"), "VERSION  FILE", "00001_checkpoints.sql  missing", "migrations missing in schema "+f.namespace+": migrate up applies them")
	f.wantValue(2, exitWrong, "migrate status", "missing")
	f.want(exitDone, words("migrate up"), "schema "+f.namespace+" is up to date")
	f.want(exitDone, words("migrate up -o yaml"), "missing: 0", "file: 00002_snapshots.sql", "applied:")
	f.wantValue(0, exitDone, "migrate status", "missing")
	shop(t).want(exitUsage, words("migrate status"), "no Postgres is named: --postgres-url or PROJECTORD_POSTGRES_URL says which")
	f.with(env("postgres-url")+"=postgres://u:sesame@127.0.0.1:1/d").want(exitUnavailable, words("migrate up"), "is the Postgres running")
}

// Read models in Postgres are run, looked at and switched like those in Redis.
func TestPostgres(t *testing.T) {
	t.Parallel()
	f := inPostgres(t)
	f.grow("cart-1", "tea", long)
	f.append("cart-2", "tea", 1)
	f.work(both(f.says("tea", "get", "carts", "1"), f.says("tea", "get", "carts", "2"), f.says("65", "get", "items", "tea")), "--snapshots", "postgres", "--snapshot-every", "1")
	f.want(exitDone, words("projections verify carts --fold"), "0 differ")
	f.want(exitDone, words("projections verify items --fold"), "0 differ")
	f.want(exitDone, words("snapshots verify --snapshots postgres"), "carts       1          1")
	f.want(exitDone, words("audit"), "carts@1     2", "items@1     2")

	// Without the Postgres, what does not take it still works.
	without := f.with(env("postgres-url") + "=")
	without.want(exitDone, words("status"), "0 pointers")
	without.want(exitUsage, words("run"), "projection carts: it is kept in Postgres, and none is named: --postgres-url or PROJECTORD_POSTGRES_URL says which")
	without.want(exitUsage, words("get carts 1"), "it is kept in Postgres")
	away := f.with(env("postgres-url") + "=postgres://u:sesame@127.0.0.1:1/d")
	away.want(exitUnavailable, words("run"), "is the Postgres running")
	away.want(exitDone, words("status"), "0 pointers", "carts@1: how many events it is behind is not known", "is the Postgres running")
}
