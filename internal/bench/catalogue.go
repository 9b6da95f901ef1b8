package bench

import (
	"slices"
	"strings"
)

// catalogue returns all rows, in the order in which they are reported. Rows that share a
// limit share the measure of it, so they are made together.
func catalogue() []*row {
	rows := slices.Concat(
		appendRows(), leaseRows(), keptRows(),
		rebuildRows(), readRows(), liveRows(), memoryRows(), growthRows(), processRows(),
	)
	for _, r := range rows {
		r.postgres = slices.ContainsFunc(inPostgres, func(begin string) bool { return strings.HasPrefix(r.name, begin) })
	}
	return rows
}

// inPostgres are the beginnings of the names of rows that need a Postgres.
var inPostgres = []string{"rebuild/copy", "rebuild/upsert", "rebuild/delta", "live/postgres"}
