package metrics

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// The list for operators names every metric with its type and labels, and nothing
// else.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	// Those of the daemon are held against its own registry.
	part, rest, _ := bytes.Cut(text, []byte("\n## The daemon\n"))
	if _, after, found := bytes.Cut(rest, []byte("\n## ")); found {
		text = append(bytes.Clone(part), after...)
	}
	listed := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(projectord_[a-z_]+)` \\| ([a-z]+) \\| ([a-z, ]*) ?\\| \\S").FindAllStringSubmatch(string(text), -1) {
		if _, twice := listed[row[1]]; twice {
			t.Errorf("docs/metrics.md lists %s twice", row[1])
		}
		listed[row[1]] = row[2] + " " + strings.TrimSpace(row[3])
	}

	m := newFixture(t).watched()
	descs := make(chan *prometheus.Desc, 100)
	m.Describe(descs)
	close(descs)
	labels := make(map[string]string)
	described := regexp.MustCompile(`fqName: "([^"]+)".* variableLabels: \{([^}]*)\}`)
	for d := range descs {
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("what is %s?", d)
		}
		labels[found[1]] = strings.ReplaceAll(found[2], ",", ", ")
	}
	families, err := registry(t, m).Gather()
	if err != nil {
		t.Fatal(err)
	}
	registered := make(map[string]bool)
	for _, f := range families {
		name := f.GetName()
		registered[name] = true
		if want := strings.ToLower(f.GetType().String()) + " " + labels[name]; listed[name] != strings.TrimSuffix(want, " ") && listed[name] != want {
			t.Errorf("docs/metrics.md has %q for %s; want %q", listed[name], name, want)
		}
	}
	for name := range labels {
		if !registered[name] {
			t.Errorf("%s is described and not collected", name)
		}
	}
	for _, name := range regexp.MustCompile(`projectord_[a-z_]+`).FindAllString(string(text), -1) {
		histogram, _ := strings.CutSuffix(name, "_bucket")
		if !registered[name] && !registered[histogram] {
			t.Errorf("docs/metrics.md names %s, which is not there", name)
		}
	}
}
