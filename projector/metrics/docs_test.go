package metrics

import (
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/metricsdoc"
)

// The list for operators names every metric with its type and labels, and nothing
// else; those of servers are checked where they are made.
func TestDocs(t *testing.T) {
	owned := func(name string) bool {
		return !slices.ContainsFunc([]string{"projectord_http_", "projectord_sse_", "projectord_build_", "projectord_generation_"}, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	metricsdoc.Check(t, "../../docs/metrics.md", owned, newFixture(t).watched())
}
