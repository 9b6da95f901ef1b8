// Package metricsdoc holds a document of metrics against the code that collects them.
package metricsdoc

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is what a document says of a metric: a row `name` | type | labels | meaning of
// one of its tables.
type Metric struct {
	Type   string
	Labels []string // in the order of the document
}

var (
	row       = regexp.MustCompile("(?m)^\\| `(projectord_[a-z_]+)` \\| ([a-z]+) \\| ([a-z, ]*) ?\\| \\S")
	named     = regexp.MustCompile(`projectord_[a-z_]+`)
	described = regexp.MustCompile(`fqName: "([^"]+)".* variableLabels: \{([^}]*)\}`)
)

// Read returns the metrics that a document lists, by name.
func Read(t testing.TB, path string) map[string]Metric {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]Metric)
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		if _, twice := listed[found[1]]; twice {
			t.Errorf("%s lists %s twice", path, found[1])
		}
		listed[found[1]] = Metric{found[2], words(found[3])}
	}
	for _, name := range named.FindAllString(string(text), -1) {
		if _, ok := listed[Base(listed, name)]; !ok {
			t.Errorf("%s names %s, which is in none of its tables", path, name)
		}
	}
	return listed
}

// Base returns the metric that a name of a time series belongs to: the histogram of what
// it counts.
func Base(listed map[string]Metric, name string) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && listed[base].Type == "histogram" {
			return base
		}
	}
	return name
}

// Check checks that a document lists what collectors describe and collect, with types and
// labels, and nothing else of which owned is true: the rest belongs to other packages. All
// that is described has to be collected, so counters and gauges have to be there at 0.
func Check(t testing.TB, path string, owned func(name string) bool, collectors ...prometheus.Collector) {
	t.Helper()
	listed := Read(t, path)
	registry := prometheus.NewPedanticRegistry()
	labels := make(map[string][]string)
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
		for name, of := range describe(t, c) {
			labels[name] = of
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	collected := make(map[string]bool)
	for _, f := range families {
		name, kind := f.GetName(), strings.ToLower(f.GetType().String())
		collected[name] = true
		if m := listed[name]; m.Type != kind || strings.Join(m.Labels, ", ") != strings.Join(labels[name], ", ") {
			t.Errorf("%s has the %s %s with the labels %v; collected is a %s with %v", path, m.Type, name, m.Labels, kind, labels[name])
		}
	}
	for name := range labels {
		if !collected[name] {
			t.Errorf("%s is described and not collected", name)
		}
	}
	for name := range listed {
		if owned(name) && !collected[name] {
			t.Errorf("%s lists %s, which is not there", path, name)
		}
	}
}

// describe returns the labels of what a collector describes, by name.
func describe(t testing.TB, c prometheus.Collector) map[string][]string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() { defer close(descs); c.Describe(descs) }()
	labels := make(map[string][]string)
	for d := range descs {
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Errorf("what is %s?", d)
			continue
		}
		labels[found[1]] = words(found[2])
	}
	return labels
}

// words returns the words of a list with commas between.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
