package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
)

// migration moves one slot of the cluster between two of its masters.
type migration struct {
	t        *testing.T
	slot     int64
	from, to *redis.Client
	others   []*redis.Client
	fromID   string
	toID     string
}

func newMigration(t *testing.T, cluster *redis.ClusterClient, key string) *migration {
	t.Helper()
	m := &migration{t: t, slot: cluster.ClusterKeySlot(t.Context(), key).Val()}
	owner, err := cluster.MasterForKey(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	err = cluster.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		// Clients of their own, because the cluster's follow its view of it.
		direct := redis.NewClient(&redis.Options{Addr: c.Options().Addr, MaxRetries: -1})
		t.Cleanup(func() { direct.Close() })
		id, err := direct.Do(ctx, "cluster", "myid").Text()
		switch {
		case c.Options().Addr == owner.Options().Addr:
			m.from, m.fromID = direct, id
		case m.to == nil:
			m.to, m.toID = direct, id
		default:
			m.others = append(m.others, direct)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *migration) must(c *redis.Client, args ...any) any {
	m.t.Helper()
	v, err := c.Do(context.WithoutCancel(m.t.Context()), args...).Result()
	if err != nil {
		m.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// begin makes the slot one that is being moved.
func (m *migration) begin() {
	m.must(m.to, "cluster", "setslot", m.slot, "importing", m.fromID)
	m.must(m.from, "cluster", "setslot", m.slot, "migrating", m.toID)
}

// next moves one key; it reports false where none is left.
func (m *migration) next() bool {
	keys := m.must(m.from, "cluster", "getkeysinslot", m.slot, 1).([]any)
	if len(keys) == 0 {
		return false
	}
	host, port, _ := strings.Cut(m.to.Options().Addr, ":")
	m.must(m.from, "migrate", host, port, keys[0], 0, 5000)
	return true
}

// end gives the slot to its new owner.
func (m *migration) end() {
	for _, c := range append([]*redis.Client{m.to, m.from}, m.others...) {
		m.must(c, "cluster", "setslot", m.slot, "node", m.toID)
	}
}

// A slot moves to another master while its streams are read and appended to.
// Appends may be refused while its keys lie on both; repeated with the same ids
// they succeed, and nothing is lost, doubled or read wrongly.
func TestSlotMigration(t *testing.T) {
	cluster := testenv.Cluster(t)
	s := open(t, cluster, Config{Partitions: 1})
	const streams = 20
	var mu sync.Mutex
	held := make(map[eventstore.StreamID][]eventstore.Event) // acknowledged; guarded by mu
	var reads []eventstore.StreamRead
	for i := range streams {
		stream := cart(i)
		held[stream] = newEvents(3)
		mustAppend(t, s, stream, held[stream]...)
		reads = append(reads, eventstore.StreamRead{Stream: stream})
	}
	m := newMigration(t, cluster, s.keys.Heads(0))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	rounds := make(chan struct{}) // a reader has gone round once
	appended, refused := 0, 0     // guarded by mu
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				stream := cart((w + 4*i) % streams) // each is written to by one of them
				e := newEvent()
				for ctx.Err() == nil {
					_, err := s.Append(t.Context(), stream, eventstore.Any, e)
					mu.Lock()
					if err == nil {
						appended++
						held[stream] = append(held[stream], e)
						mu.Unlock()
						break
					}
					refused++
					mu.Unlock()
					if conflict := new(eventstore.ConflictError); errors.As(err, &conflict) {
						t.Errorf("append: %v", err)
						return
					}
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				known := make([]int, len(reads))
				for i, read := range reads {
					known[i] = len(held[read.Stream])
				}
				mu.Unlock()
				got := make([][]uuid.UUID, len(reads))
				failed, err := s.ReadMany(t.Context(), reads, func(i int, e *eventstore.Recorded) error {
					if e.Version != eventstore.Version(len(got[i])+1) {
						return fmt.Errorf("version %d after %d", e.Version, len(got[i]))
					}
					got[i] = append(got[i], e.ID)
					return nil
				})
				if err != nil || failed != nil {
					t.Errorf("ReadMany: %v, %v", failed, err)
				}
				single, err := ids(t.Context(), s, reads[0].Stream)
				if err != nil || len(single) < known[0] {
					t.Errorf("Read: %d events, %d known, %v", len(single), known[0], err)
				}
				for i := range reads {
					if len(got[i]) < known[i] {
						t.Errorf("ReadMany: %s: %d events, %d known", reads[i].Stream, len(got[i]), known[i])
					}
				}
				select {
				case rounds <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}

	m.begin()
	for m.next() {
		<-rounds
	}
	m.end()
	<-rounds
	mu.Lock()
	during := appended
	mu.Unlock()
	// Once it is over, everything works again by itself.
	testenv.Wait(t, waitLong, func() error {
		select {
		case <-rounds:
		default:
		}
		mu.Lock()
		defer mu.Unlock()
		if appended < during+20 {
			return fmt.Errorf("%d appends since the slot was moved", appended-during)
		}
		return nil
	})
	stop()
	wg.Wait()

	for c, want := range map[*redis.Client]bool{m.from: false, m.to: true} {
		if n := m.must(c, "cluster", "countkeysinslot", m.slot).(int64); (n > 0) != want {
			t.Errorf("%s has %d keys of the slot", c, n)
		}
	}
	for stream, events := range held {
		got, err := ids(t.Context(), s, stream)
		if err != nil {
			t.Error(err)
		}
		// An append that was given up when the test stopped may be there too.
		if len(got) > len(events)+1 || len(got) < len(events) {
			t.Errorf("%s has %d events, %d were acknowledged", stream, len(got), len(events))
			continue
		}
		for i := range events {
			if got[i] != events[i].ID {
				t.Errorf("%s@%d is event %s, want %s", stream, i+1, got[i], events[i].ID)
			}
		}
	}
	whole(t, s)
	t.Logf("%d appends, %d refused on the way", appended, refused)
}

// A master cannot be reached any more, and another one has its slots: the append that
// finds that out goes there.
func TestMasterGone(t *testing.T) {
	cluster := testenv.Cluster(t)
	other := open(t, cluster, Config{Partitions: 1})
	m := newMigration(t, cluster, other.keys.Heads(0))
	line, gone := new(faultconn.Line), new(atomic.Bool)
	options := *cluster.Options()
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if gone.Load() && addr == m.from.Options().Addr {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return line.Dialer(nil)(ctx, network, addr)
	}
	client := redis.NewClusterClient(&options)
	t.Cleanup(func() { client.Close() })
	s := open(t, client, Config{Namespace: other.Namespace()})
	first, second := newEvent(), newEvent()
	mustAppend(t, s, cart(1), first)
	m.begin()
	for m.next() {
	}
	m.end()
	line.CutAfter(0, 1)
	gone.Store(true)
	mustAppend(t, s, cart(1), second)
	holds(t, other, cart(1), first, second)
	if line.Cuts() != 1 {
		t.Error("nothing was cut: that shows nothing")
	}
}

// Each partition is on one node, and they spread over all.
func TestPartitionsSpread(t *testing.T) {
	t.Parallel()
	cluster := testenv.Cluster(t)
	s := open(t, cluster, Config{Partitions: 64})
	nodes := make(map[string]int)
	for p := range s.Partitions() {
		slot := cluster.ClusterKeySlot(t.Context(), s.keys.Heads(p)).Val()
		for i := 0; i < 1000; i++ {
			if stream := cart(i).String(); s.keys.Partition(stream) == p {
				if got := cluster.ClusterKeySlot(t.Context(), s.keys.Stream(stream)).Val(); got != slot {
					t.Errorf("%s is in slot %d, its partition %d in %d", stream, got, p, slot)
				}
			}
		}
		node, err := cluster.MasterForKey(t.Context(), s.keys.Heads(p))
		if err != nil {
			t.Fatal(err)
		}
		nodes[node.Options().Addr]++
	}
	for addr, n := range nodes {
		if len(nodes) != 3 || n < 8 {
			t.Errorf("%d of 64 partitions are on %s, one of %d nodes", n, addr, len(nodes))
		}
	}
}
