package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// at returns a provider and a client of it.
func at(t *testing.T, config Config) (*Provider, *Client) {
	t.Helper()
	p := New(config)
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, &Client{URL: server.URL, Worker: "one"}
}

func mail(event string) Delivery {
	return Delivery{Channel: "email", Event: event, User: "user-1", Text: "Ann follows you."}
}

func want(t *testing.T, got error, kind error) {
	t.Helper()
	if !errors.Is(got, kind) || kind == nil && got != nil {
		t.Fatalf("the error is %v, want %v", got, kind)
	}
}

func set(t *testing.T, c *Client, f Fault) {
	t.Helper()
	f.Channel = "email"
	want(t, c.Set(t.Context(), f), nil)
}

// TestFaults has everything go wrong that can, and what is called again delivered once.
func TestFaults(t *testing.T) {
	t.Parallel()
	p, c := at(t, Config{})
	deliver := func(event string) error { return c.Deliver(t.Context(), mail(event)) }
	set(t, c, Fault{Fail: 1, Lose: 1})
	want(t, deliver("a"), ErrUnavailable) // fails
	want(t, deliver("a"), ErrUnavailable) // is delivered, and the reply lost
	want(t, deliver("a"), nil)
	set(t, c, Fault{Refuse: "user-1"})
	want(t, deliver("b"), ErrRefused)
	set(t, c, Fault{Accept: "user-1"})
	want(t, deliver("b"), nil)
	want(t, deliver("b"), nil)
	if err := c.Set(t.Context(), Fault{Channel: "email", Slow: "soon"}); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("a fault that makes no sense: %v", err)
	}
	counts, err := c.Counts(t.Context())
	want(t, err, nil)
	if got := fmt.Sprintf("%+v", counts); got != fmt.Sprintf("%+v", []Counts{{
		Channel: "email", Calls: 6, Deliveries: 2, Repeated: 2, Failed: 1, Refused: 1, Lost: 1,
		Workers: map[string]int{"one": 2}, Waiting: map[string]int{}, Refuses: []string{},
	}}) {
		t.Errorf("it counts %s", got)
	}
	last, err := c.Last(t.Context())
	want(t, err, nil)
	if done := p.Deliveries("email"); len(last) != 2 || len(done) != 2 || done[0].Event != "a" || last[1].Event != "b" {
		t.Errorf("it has delivered %+v, the last are %+v", done, last)
	}
}

// TestSlow has calls wait until they may go on, or whoever calls has had enough.
func TestSlow(t *testing.T) {
	t.Parallel()
	p, c := at(t, Config{})
	set(t, c, Fault{Slow: "1h"})
	impatient, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() { errs <- c.Deliver(impatient, mail("a")) }()
	waits := func(n int) func() error {
		return func() error {
			if got := p.In("email").Waiting["one"]; got != n {
				return fmt.Errorf("%d calls wait, not %d", got, n)
			}
			return nil
		}
	}
	testenv.Wait(t, time.Minute, waits(1))
	cancel()
	want(t, <-errs, context.Canceled)
	testenv.Wait(t, time.Minute, waits(0))
	go func() { errs <- c.Deliver(t.Context(), mail("b")) }()
	testenv.Wait(t, time.Minute, waits(1))
	set(t, c, Fault{Slow: "0s"})
	want(t, <-errs, nil)
	if n := p.In("email").Deliveries; n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// TestAtOnce has the same asked for by many at the same time: it is one delivery, unless the
// provider forgets its keys.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	for forgetful, deliveries := range map[bool]int{false: 1, true: 20} {
		p, c := at(t, Config{Forgetful: forgetful})
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if err := c.Deliver(t.Context(), mail("a")); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if n := p.In("email").Deliveries; n != deliveries {
			t.Errorf("forgetful %t: %d deliveries, want %d", forgetful, n, deliveries)
		}
	}
}

// TestAway has nobody answer.
func TestAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(New(Config{}))
	server.Close()
	want(t, (&Client{URL: server.URL}).Deliver(t.Context(), mail("a")), ErrUnavailable)
}
