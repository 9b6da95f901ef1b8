package metrics

import (
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/metricsdoc"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/adopt"
)

// adoption is what is collected of an adopter.
func adoption(t *testing.T) *Adoption {
	a, err := adopt.New(adopt.Config{Client: testenv.Embedded(t), Source: adopt.Source{Name: "crm", Keys: []string{"leads"}, Decode: adopt.Fields{}.Decode}})
	if err != nil {
		t.Fatal(err)
	}
	m := NewAdoption()
	m.Watch(a)
	return m
}

// The list for operators names every metric with its type and labels, and nothing
// else; those of servers are checked where they are made.
func TestDocs(t *testing.T) {
	owned := func(name string) bool {
		return !slices.ContainsFunc([]string{"projectord_http_", "projectord_sse_", "projectord_build_", "projectord_generation_"}, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	metricsdoc.Check(t, "../../docs/metrics.md", owned, newFixture(t).watched(), adoption(t))
}
