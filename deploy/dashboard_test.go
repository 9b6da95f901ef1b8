package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"

	"github.com/projectord/projectord/internal/metricsdoc"
)

// dashboard is what is looked at of one.
type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ Type, UID string }
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []struct{ Expr string }
}

// pending are metrics that have a panel before they are in the document. What that says of
// them counts once they are.
var pending = map[string]metricsdoc.Metric{
	"projectord_sse_clients":       {Type: "gauge", Labels: []string{"feed"}},
	"projectord_sse_dropped_total": {Type: "counter", Labels: []string{"feed"}},
}

// Every panel names metrics, labels and variables that there are, and every metric has
// a panel.
func TestDashboard(t *testing.T) {
	metrics := metricsdoc.Read(t, "../docs/metrics.md")
	for name, m := range pending {
		if _, listed := metrics[name]; !listed {
			metrics[name] = m
		}
	}
	var d dashboard
	if err := json.Unmarshal(read(t, "grafana/dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	for _, want := range []string{"datasource", "namespace", "projection"} {
		if !slices.Contains(variables, want) {
			t.Errorf("there is no variable %s", want)
		}
	}
	variables = append(variables, "__rate_interval")
	shown := make(map[string]bool)
	ids := make(map[int]string)
	for i, p := range d.Panels {
		if other, twice := ids[p.ID]; twice {
			t.Errorf("%s has the id of %s", p.Title, other)
		}
		ids[p.ID] = p.Title
		for _, other := range d.Panels[:i] {
			if p.overlaps(other) {
				t.Errorf("%s lies over %s", p.Title, other.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %d, %q, lacks a title, a description, an expression or the data source", p.ID, p.Title)
		}
		for _, target := range p.Targets {
			e := lookAt(metrics, target.Expr)
			for _, problem := range e.problems {
				t.Errorf("%s: %s: %s", p.Title, problem, target.Expr)
			}
			for _, name := range e.named {
				shown[name] = true
			}
			for _, used := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(variables, used[1]) {
					t.Errorf("%s: there is no variable %s", p.Title, used[1])
				}
			}
		}
	}
	for name := range metrics {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

func (p panel) overlaps(o panel) bool {
	a, b := p.GridPos, o.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}
