package bench

import (
	"slices"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// Every row can be measured, of few events.
func TestRowsOfReading(t *testing.T) {
	for _, only := range []string{
		"rebuild", "reads", "live/redis-1k", "live/redis-30k", "live/postgres-1k", "memory", "growth", "processes/rebuild", "processes/backlog", "processes/cluster",
	} {
		t.Run(only, func(t *testing.T) {
			t.Parallel()
			config := Config{RedisURL: testenv.StartRedis(t).URL(), PostgresURL: testenv.Postgres(t), Events: 2_000, Streams: 200, Only: []string{only}}
			report, err := Run(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			if err := report.Failed(); err != nil {
				t.Error(err)
			}
			for _, row := range report.Rows {
				if row.Value == nil || (row.Limit != nil && row.Ratio == nil) || row.Spread == nil {
					t.Errorf("%s lacks a value: %+v", row.Name, row)
				}
			}
			rows, err := config.selection()
			if err != nil {
				t.Fatal(err)
			}
			if needed := slices.ContainsFunc(rows, func(r *row) bool { return r.postgres }); needed != (report.Machine.Postgres != "") {
				t.Errorf("that a Postgres is needed is %v, and it used %q", needed, report.Machine.Postgres)
			}
			report.Show(t.Output())
		})
	}
}
