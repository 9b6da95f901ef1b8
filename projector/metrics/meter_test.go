package metrics

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/projectord/projectord/projector"
)

// metered returns metrics with one projection that is measured by a function.
func metered(measure func(context.Context) (reading, error)) *Metrics {
	m := New()
	g := generation{"totals", 1}
	m.meters[g] = newMeter(measure, m.of(g).lagErrors)
	return m
}

const (
	metricErrors = "lag_errors_total{generation=1,projection=totals}"
	metricEvents = "lag_events{generation=1,projection=totals}"
)

// It is measured at a scrape, but not again for 5 s, however many ask.
func TestMeasuredEvery5s(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		r := registry(t, metered(func(context.Context) (reading, error) {
			n := int(calls.Add(1))
			time.Sleep(time.Second)
			return reading{lag: projector.Lag{Pointers: n, Events: 10 * n, Oldest: 1500 * time.Millisecond}, parked: 3}, nil
		}))
		if calls.Load() != 0 {
			t.Error("it was measured without a scrape")
		}
		for n := range 3 {
			start := time.Now()
			for range 5 {
				var scrapes sync.WaitGroup
				for range 3 {
					scrapes.Go(func() {
						gather(t, r).want(t, map[string]float64{
							metricEvents: 10 * float64(n+1),
							"lag_pointers{generation=1,projection=totals}":   float64(n + 1),
							"lag_seconds{generation=1,projection=totals}":    1.5,
							"parked_streams{generation=1,projection=totals}": 3,
							metricErrors: 0,
						})
					})
				}
				scrapes.Wait()
			}
			if took := time.Since(start); took != time.Second {
				t.Errorf("the scrapes took %v", took)
			}
			time.Sleep(measureEvery)
		}
		if n := calls.Load(); n != 3 {
			t.Errorf("it was measured %d times", n)
		}
	})
}

// wantNoLag gathers, and wants the lag to be absent after so many errors.
func wantNoLag(t *testing.T, g gathered, errors float64) {
	t.Helper()
	g.want(t, map[string]float64{metricErrors: errors})
	for _, name := range []string{"lag_events", "lag_pointers", "lag_seconds", "pending_pointers", "parked_streams"} {
		if _, ok := g["projectord_"+name+"{generation=1,projection=totals}"]; ok {
			t.Errorf("projectord_%s is there", name)
		}
	}
}

// A measurement that fails leaves its gauges out and is counted once.
func TestMeasuringFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var err error = errors.New("out of reach")
		r := registry(t, metered(func(context.Context) (reading, error) { return reading{}, err }))
		for range 3 {
			wantNoLag(t, gather(t, r), 1)
		}
		time.Sleep(measureEvery)
		wantNoLag(t, gather(t, r), 2)
		err = nil
		time.Sleep(measureEvery)
		gather(t, r).want(t, map[string]float64{metricEvents: 0, metricErrors: 2})
	})
}

// A measurement that hangs, deaf to its context, holds a scrape up for 2 s, and no
// other begins meanwhile.
func TestMeasuringHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		back := make(chan struct{})
		m := metered(func(context.Context) (reading, error) {
			if calls.Add(1) == 1 {
				<-back
			}
			return reading{}, nil
		})
		other := generation{"other", 1}
		m.meters[other] = newMeter(func(context.Context) (reading, error) { return reading{parked: 1}, nil }, m.of(other).lagErrors)
		r := registry(t, m)
		for i, want := range []time.Duration{measureTime, 0, 0} {
			start := time.Now()
			g := gather(t, r)
			wantNoLag(t, g, 1)
			g.want(t, map[string]float64{"parked_streams{generation=1,projection=other}": 1})
			if took := time.Since(start); took != want {
				t.Errorf("scrape %d took %v, want %v", i, took, want)
			}
			time.Sleep(measureEvery)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d measurements were begun", n)
		}
		close(back)
		synctest.Wait()
		gather(t, r).want(t, map[string]float64{metricEvents: 0, metricErrors: 1})
	})
}
