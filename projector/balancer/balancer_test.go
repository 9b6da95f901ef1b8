package balancer_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// Streams are assigned once, with their infos, and leave nothing when they are finished.
func TestHandOut(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, partitions := range []int{1, 3} {
			b := open(t, client, partitions)
			announce(t, b, names(300)...)
			one, two := join(t, b, balancer.WorkerConfig{Capacity: 150}), join(t, b, balancer.WorkerConfig{Capacity: 150})
			owned(t, 300, one, two)
			if s := statuses(t, b); len(s) != 300 || s["session-7"].Session == "" || string(s["session-7"].Info) != "info of session-7" {
				t.Error("announced are", len(s), s["session-7"])
			}
			for _, w := range []*balancer.Worker{one, two} {
				for stream := range assigned(t, w, 150) {
					mustFinish(t, w, stream)
					wantErr(t, w.Finish(t.Context(), stream), balancer.ErrNotHeld)
				}
			}
			if s := statuses(t, b); len(s) != 0 {
				t.Error("finished streams are announced still:", s)
			}
			for p := range partitions {
				if n, err := client.XLen(t.Context(), logKey(b, p)).Result(); n != 0 || err != nil {
					t.Error("the log has", n, err)
				}
			}
		}
	})
}

// A stream that is announced while a worker has it is assigned to it again when it
// finishes, with the new info.
func TestAnnouncedAgain(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 0)
		w := join(t, b, balancer.WorkerConfig{})
		announce(t, b, "cart")
		first := nextOf(t, w, balancer.Assigned)
		ctx := w.Context("cart")
		if err := b.Announce(t.Context(), balancer.Announcement{Stream: "cart", Info: []byte("new")}); err != nil {
			t.Fatal(err)
		}
		mustFinish(t, w, "cart")
		second := nextOf(t, w, balancer.Assigned)
		if string(second.Info) != "new" || second.Number <= first.Number || second.Token <= first.Token || ctx.Err() == nil {
			t.Error("assigned again as", second, "after", first, ctx.Err())
		}
		mustFinish(t, w, "cart")
		if s := statuses(t, b); len(s) != 0 || len(w.Notifications()) != 0 {
			t.Error("after all there is", s, len(w.Notifications()))
		}
	})
}

// A stream that is handed back goes to another worker, and is not finished.
func TestHandBack(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 0)
		one := join(t, b, balancer.WorkerConfig{Capacity: 1})
		announce(t, b, "cart")
		first := assigned(t, one, 1)["cart"]
		two := join(t, b, balancer.WorkerConfig{Capacity: 1})
		if err := one.HandBack(t.Context(), "cart"); err != nil {
			t.Fatal(err)
		}
		second := assigned(t, two, 1)["cart"]
		if !second.TakenOver || second.Token <= first.Token || one.Holds("cart") || !two.Holds("cart") {
			t.Error("handed back it was assigned as", second)
		}
		wantErr(t, one.Finish(t.Context(), "cart"), balancer.ErrNotHeld)
		mustFinish(t, two, "cart")
	})
}

// A worker that is alone has what it handed back again, after a TTL.
func TestHandBackAlone(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
	announce(t, b, "cart")
	assigned(t, w, 1)
	if err := w.HandBack(t.Context(), "cart"); err != nil {
		t.Fatal(err)
	}
	if len(w.Held()) != 0 {
		t.Error("handed back it is held")
	}
	assigned(t, w, 1)
}

// What Open refuses.
func TestOpenRefuses(t *testing.T) {
	client := testenv.Redis(t)
	store := testenv.Namespace(t)
	if _, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: store}); err != nil {
		t.Fatal(err)
	}
	b := open(t, client, 3)
	for name, c := range map[string]struct {
		config balancer.Config
		words  []string
	}{
		"Namespace":  {balancer.Config{Namespace: "No"}, []string{"No", "[a-z]"}},
		"Partitions": {balancer.Config{Namespace: b.Namespace(), Partitions: 4}, []string{b.Namespace(), "3 partitions", "set it to 3"}},
		"Many":       {balancer.Config{Partitions: 1025}, []string{"1025"}},
		"Store":      {balancer.Config{Namespace: store}, []string{store, "event store"}},
	} {
		_, err := balancer.Open(t.Context(), client, c.config)
		for _, word := range c.words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error %v lacks %q", name, err, word)
			}
		}
	}
	if _, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: b.Namespace()}); err == nil || !strings.Contains(err.Error(), "balancer") {
		t.Error("an event store was opened in the namespace of a balancer:", err)
	}
	if again, err := balancer.Open(t.Context(), client, balancer.Config{Namespace: b.Namespace()}); err != nil || again.Partitions() != 3 {
		t.Error("the balancer was not opened again:", err)
	}
}

// Bad announcements and settings are refused before anything happens.
func TestBadInput(t *testing.T) {
	b := open(t, testenv.Embedded(t), 0)
	for name, a := range map[string]balancer.Announcement{
		"NoName":   {},
		"LongName": {Stream: strings.Repeat("x", 1025)},
		"LongInfo": {Stream: "x", Info: make([]byte, 64<<10+1)},
	} {
		if err := b.Announce(t.Context(), balancer.Announcement{Stream: "good"}, a); err == nil {
			t.Error(name, "was announced")
		}
	}
	if s := statuses(t, b); len(s) != 0 {
		t.Error("of refused calls was announced", s)
	}
	for name, c := range map[string]balancer.WorkerConfig{
		"Capacity": {Capacity: -1}, "TTL": {TTL: 1}, "Idle": {Idle: -1}, "RecoveryCount": {RecoveryCount: 1001},
		"Retry": {Retry: balancer.Retry{Initial: 2e9, Max: 1e9}}, "Name": {Name: "a b"},
	} {
		if w, err := b.Join(t.Context(), c); err == nil {
			t.Errorf("%s: worker %s joined", name, w.ID())
		}
	}
}
