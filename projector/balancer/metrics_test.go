package balancer_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// counts is what a worker told its metrics.
type counts struct {
	mu       sync.Mutex
	events   map[balancer.Event]int
	held     int
	finished int
}

func (c *counts) Add(e balancer.Event, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[e] += n
}

func (c *counts) Held(n, capacity int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = n
}

func (c *counts) Finished(time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished++
}

// A worker tells its metrics what it does, and others which sessions there are.
func TestMetrics(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	c := &counts{events: make(map[balancer.Event]int)}
	announce(t, b, names(5)...)
	died(t, b, client, 4)
	w := join(t, b, balancer.WorkerConfig{Name: "pod", Metrics: c})
	assigned(t, w, 5)
	mustFinish(t, w, "session-0", "session-1")
	join(t, b, balancer.WorkerConfig{})
	if err := w.HandBack(t.Context(), present(w, "session-2")...); err != nil {
		t.Fatal(err)
	}
	testenv.Wait(t, waitLong, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		want := map[balancer.Event]int{
			balancer.EventSession: 1, balancer.EventAssigned: 5, balancer.EventTakenOver: 5,
			balancer.EventFinished: 2, balancer.EventHandedBack: 1,
		}
		if !maps.Equal(c.events, want) || c.held != 2 || c.finished != 2 {
			return fmt.Errorf("told were %v, held %d, finished %d", c.events, c.held, c.finished)
		}
		return nil
	})
	sessions, err := b.Sessions(t.Context())
	if err != nil || len(sessions) != 2 {
		t.Error("the sessions are", sessions, err)
	}
}
