package metrics

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// registry returns a registry with metrics.
func registry(t *testing.T, m *Metrics) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(m); err != nil {
		t.Fatal(err)
	}
	return r
}

// gathered maps time series, written as "name{label=value,…}", to their values;
// histograms to their counts.
type gathered map[string]float64

func gather(t *testing.T, r prometheus.Gatherer) gathered {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(gathered)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = v
		}
	}
	return all
}

// want checks time series by their names without the prefix "projectord_".
func (g gathered) want(t *testing.T, want map[string]float64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got, ok := g["projectord_"+name]; !ok || got != want[name] {
			t.Errorf("projectord_%s is %v (there: %t); want %v", name, got, ok, want[name])
		}
	}
}

func declared(name string) projector.Assignment {
	return projector.Assignment{Projection: projector.NewState(name, projector.StateConfig[int]{
		Categories: []string{"cart"}, Events: eventstore.NewRegistry(), Document: func(*int, *projector.Document) {},
	})}
}

// everything is one of each observation.
func everything(a projector.Assignment) []projector.Observation {
	stream := eventstore.MustStreamID("cart", "secret")
	all := []projector.Observation{
		projector.SessionBegan{Session: "secret.1"},
		projector.SessionEnded{Session: "secret.1"},
		projector.SessionEnded{Session: "secret.2", Reason: lease.ErrFenced},
		projector.Claimed{Assignment: a, Streams: []string{"cart-secret", "cart-2", "cart-3"}},
		projector.TakenOver{Assignment: a, Partition: 3, Pointers: 5},
		projector.Disowned{Assignment: a, Streams: []string{"cart-secret"}},
		projector.Conflict{Assignment: a, RefusedError: &projector.RefusedError{Stream: stream}},
		projector.Batch{Assignment: a, Streams: 3, Committed: 2, Events: 7, Load: time.Millisecond, Fold: time.Second, Commit: time.Minute},
		projector.Batch{Assignment: a, Streams: 1, Load: time.Millisecond}, // was at its head
		projector.Settled{Assignment: a, Streams: []string{"cart-secret", "cart-2"}},
		projector.Paused{Assignment: a, Reason: errors.New("secret"), For: time.Second},
		projector.Resumed{Assignment: a, After: time.Second},
	}
	for _, reason := range []error{projector.ErrPoison, eventstore.ErrHole, eventstore.ErrTruncated, projector.ErrRegressed, projector.ErrForked, errors.New("secret")} {
		why := &projector.StreamError{Projection: "totals", Stream: stream, Reason: reason, Err: errors.New("secret")}
		all = append(all,
			projector.Halted{Assignment: a, StreamError: why, Attempts: 1},
			projector.ParkedStream{Assignment: a, StreamError: why, Attempts: 3})
	}
	return all
}

func TestObserve(t *testing.T) {
	m := New()
	r := registry(t, m)
	second := declared("totals")
	second.Generation = 2
	for _, o := range append(everything(declared("totals")), projector.Claimed{Assignment: second, Streams: []string{"cart-1"}}) {
		m.Observe(o)
	}
	g := gather(t, r)
	want := map[string]float64{
		"sessions_total{}":                             1,
		"sessions_lost_total{}":                        1,
		"claims_total{generation=2,projection=totals}": 1,
		"batch_duration_seconds{generation=1,projection=totals,stage=load}":   2,
		"batch_duration_seconds{generation=1,projection=totals,stage=fold}":   1,
		"batch_duration_seconds{generation=1,projection=totals,stage=commit}": 1,
		"batch_streams{generation=1,projection=totals}":                       2,
		"claims_total{generation=1,projection=totals}":                        3,
		"takeovers_total{generation=1,projection=totals}":                     5,
		"disowned_total{generation=1,projection=totals}":                      1,
		"settled_total{generation=1,projection=totals}":                       2,
		"conflicts_total{generation=1,projection=totals}":                     1,
		"events_applied_total{generation=1,projection=totals}":                7,
		"batches_total{generation=1,projection=totals}":                       2,
		"pauses_total{generation=1,projection=totals}":                        1,
		"lag_errors_total{generation=1,projection=totals}":                    0,
		"events_applied_total{generation=2,projection=totals}":                0,
		"parked_total{generation=2,projection=totals,reason=poison}":          0,
		"batch_duration_seconds{generation=2,projection=totals,stage=commit}": 0,
	}
	for _, reason := range []string{"poison", "hole", "truncated", "regressed", "forked", "other"} {
		want["parked_total{generation=1,projection=totals,reason="+reason+"}"] = 1
		want["halted_total{generation=1,projection=totals,reason="+reason+"}"] = 1
	}
	g.want(t, want)
	wantNoSecrets(t, g)
}

// wantNoSecrets checks that no label tells of what "secret" is in the name of.
func wantNoSecrets(t *testing.T, g gathered) {
	t.Helper()
	for name := range g {
		if strings.Contains(name, "secret") {
			t.Errorf("a label tells too much: %s", name)
		}
	}
}

// What is observed costs no memory.
func TestObserveAllocates(t *testing.T) {
	m := New()
	all := everything(declared("totals"))
	observe := func() {
		for _, o := range all {
			m.Observe(o)
		}
	}
	if n := testing.AllocsPerRun(100, observe); n != 0 {
		t.Errorf("observing allocates %v times", n)
	}
}

// Observing and gathering at once.
func TestConcurrency(t *testing.T) {
	m := New()
	r := registry(t, m)
	const each = 50
	var wg sync.WaitGroup
	for i := range 8 {
		a := declared(fmt.Sprint("totals", i%4))
		wg.Go(func() {
			for range each {
				for _, o := range everything(a) {
					m.Observe(o)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range each {
				if _, err := r.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	g := gather(t, r)
	for i := range 4 {
		g.want(t, map[string]float64{
			fmt.Sprintf("events_applied_total{generation=1,projection=totals%d}", i):              2 * each * 7,
			fmt.Sprintf("halted_total{generation=1,projection=totals%d,reason=forked}", i):        2 * each,
			fmt.Sprintf("batch_duration_seconds{generation=1,projection=totals%d,stage=fold}", i): 2 * each,
		})
	}
}

func TestLint(t *testing.T) {
	f := newFixture(t)
	problems, err := testutil.GatherAndLint(registry(t, f.watched()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
