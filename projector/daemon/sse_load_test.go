package daemon

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/projectord/projectord/internal/testenv"
)

const (
	loadReading = 180
	loadStuck   = 20
	loadEvents  = 60
	loadBefore  = 20 // events that nobody measures
	loadStreams = 4
)

// large is more than the sockets of a client that does not read have room for.
var large = strings.Repeat("tea", 4<<10)

// Clients that do not read cost the others nothing: with twenty of them, for whom the
// server would wait an hour, all others are told everything, about as soon as without.
func TestFeedsWithStuckClients(t *testing.T) {
	if testing.Short() {
		t.Skip("it has 200 clients")
	}
	without := loadRun(t, 0)
	with := loadRun(t, loadStuck)
	t.Logf("from append to client, %d clients: median %v, 99th percentile %v; with %d more that do not read: %v, %v",
		loadReading, rank(without, 50), rank(without, 99), loadStuck, rank(with, 50), rank(with, 99))
	if got, most := rank(with, 50), 3*rank(without, 50)+100*time.Millisecond; got > most {
		t.Errorf("with clients that do not read the median is %v, more than %v", got, most)
	}
}

// loadRun has clients read what is appended, beside some that do not, and returns how
// long each event took to each client, in ascending order.
func loadRun(t *testing.T, stuck int) []time.Duration {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), func(s *site) {
		s.patience, s.every = time.Hour, 100*time.Millisecond
		small(s, 64<<10)
	})
	defer s.end()
	for n := range stuck {
		s.listen(streamPath(fmt.Sprintf("cart-%d", n%loadStreams))).slow().connect()
	}
	s.following(feedEvents, stuck)
	// They are stuck before the others come.
	for n := range loadStreams {
		for range loadBefore {
			s.add(fmt.Sprintf("cart-%d", n), large)
		}
	}
	var all []*listener
	for n := range loadReading {
		l := s.listen(streamPath(fmt.Sprintf("cart-%d", n%loadStreams)) + fmt.Sprintf("?from=%d", loadBefore+1))
		l.stay = 4 * waitLong
		l.connect()
		all = append(all, l)
	}
	s.following(feedEvents, loadReading+stuck)
	took := make([][]time.Duration, len(all))
	var reading sync.WaitGroup
	for i, l := range all {
		reading.Go(func() {
			for n := range loadEvents {
				m, err := l.next()
				if want := fmt.Sprint(loadBefore + 1 + n); err != nil || m.id != want {
					t.Errorf("client %d: event %s is %s, %v", i, want, m.id, err)
					return
				}
				_, after, _ := strings.Cut(m.data, `"time":"`)
				at, _, _ := strings.Cut(after, `"`)
				appended, err := time.Parse(time.RFC3339Nano, at)
				if err != nil {
					t.Error(err)
				}
				took[i] = append(took[i], time.Since(appended))
			}
		})
	}
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for range loadEvents {
		for n := range loadStreams {
			s.add(fmt.Sprintf("cart-%d", n), large)
		}
		<-pace.C
	}
	reading.Wait()
	if n := testutil.ToFloat64(s.dropped.WithLabelValues(feedEvents)); n != 0 {
		t.Errorf("%g clients were dropped", n)
	}
	sorted := slices.Concat(took...)
	slices.Sort(sorted)
	return sorted
}

func rank(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(time.Millisecond)
}

// A client that does not read is dropped, and counted; when it comes back it goes on where
// it stood.
func TestFeedsDropStuckClients(t *testing.T) {
	const clients = 20
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), func(s *site) {
		s.patience = 100 * time.Millisecond
		small(s, 4<<10)
	})
	for range 20 {
		s.add("cart-1", strings.Repeat(large, 10))
	}
	var all []*listener
	for range clients {
		l := s.listen(streamPath("cart-1")).slow()
		l.connect()
		all = append(all, l)
	}
	testenv.Wait(t, waitLong, func() error {
		if n := testutil.ToFloat64(s.dropped.WithLabelValues(feedEvents)); int(n) != clients {
			return fmt.Errorf("%g clients were dropped, want %d", n, clients)
		}
		return nil
	})
	s.following(feedEvents, 0)
	for _, l := range all[:3] {
		for at := 0; at < 20; {
			m, err := l.next()
			if err != nil {
				l.dial.Control = nil
				l.connect()
				continue
			}
			if at++; m.id != fmt.Sprint(at) {
				t.Fatalf("event %d is %s", at, m.id)
			}
		}
	}
}

// Changes reach many clients while some do not read.
func TestChangesFeedWithStuckClients(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), func(s *site) {
		s.patience = time.Hour
		small(s, 4<<10)
	})
	s.worker()
	s.add("cart-1", "tea")
	s.shown("carts", "cart-1", 1)
	for range 10 {
		s.listen(cartChanges).slow().connect()
	}
	var reading []*listener
	for range 20 {
		l := s.listen(cartChanges)
		l.connect()
		reading = append(reading, l)
	}
	long := strings.Repeat("x", 190)
	for range 20 {
		for range 20 {
			s.add(fmt.Sprintf("cart-%s%d", long, rand.IntN(100)), "tea")
		}
		at := s.add("cart-1", "tea")
		for _, l := range reading {
			l.until("cart-1", int(at.Last))
		}
	}
}
