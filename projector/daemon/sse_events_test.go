package daemon

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// A client begins where it asks to, and is told what comes.
func TestEventsFeed(t *testing.T) {
	onKinds(t, everyKind, func(t *testing.T, redisURL string) {
		for _, c := range []struct {
			query, last string
			want        []string
		}{
			{"", "", []string{"event@1", "event@2", "event@3", "event@4"}},
			{"?from=0", "", []string{"event@1", "event@2", "event@3", "event@4"}},
			{"?from=3", "", []string{"event@3", "event@4"}},
			{"?from=4", "", []string{"event@4"}},
			{"?from=5", "", []string{"event@5"}},
			{"?from=end", "", []string{"event@4", "event@5"}},
			{"", "0", []string{"event@1", "event@2", "event@3", "event@4"}},
			{"", "2", []string{"event@3", "event@4"}},
			{"?from=1", "2", []string{"event@3", "event@4"}},
			{"?from=end", "3", []string{"event@4"}},
		} {
			t.Run(c.query+" "+c.last, func(t *testing.T) {
				s := feedsAt(t, redisURL, shopApp(1), nil)
				s.add("cart-1", "tea", "mug", "pot")
				l := s.listen(streamPath("cart-1") + c.query)
				l.last = c.last
				if status := l.connect(); status != http.StatusOK {
					t.Fatalf("status %d", status)
				}
				// What comes is appended only once the client stands where it wants to.
				for line := ""; !strings.HasPrefix(line, "id: "); {
					var err error
					if line, err = l.lines.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				s.add("cart-1", "4")
				s.add("cart-1", "5")
				l.want(c.want...)
			})
		}
	})
}

// The form of what is sent is what browsers and proxies need.
func TestEventsFeedForm(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	l := s.listen(streamPath("cart-1"))
	l.connect()
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
		if got := l.response.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	first := make([]byte, len("retry: 1000\n\nid: 0\n\n"))
	if _, err := io.ReadFull(l.lines, first); err != nil || string(first) != "retry: 1000\n\nid: 0\n\n" {
		t.Errorf("it begins with %q, %v", first, err)
	}
	// Who asks what a response would be like is not kept waiting for one.
	head, err := http.Head(l.url)
	if err != nil || head.StatusCode != http.StatusOK || head.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: got %+v, %v", head, err)
	}
	http.DefaultClient.CloseIdleConnections()
	// The stream does not exist until now.
	s.add("cart-1", "tea\nmug")
	m := l.want("event@1")[0]
	data, _ := m.value("data").(map[string]any)
	if m.value("stream") != "cart-1" || m.value("type") != "added" || data["item"] != "tea\nmug" {
		t.Errorf("the event is %s", m.data)
	}
}

// What makes no sense is refused before anything is streamed.
func TestEventsFeedRefuses(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	for _, c := range []struct{ path, last, says string }{
		{streamPath("Cart"), "", "has no dash"},
		{streamPath("cart-1") + "?from=x", "", "version or end"},
		{streamPath("cart-1") + "?from=-1", "", "version or end"},
		{streamPath("cart-1"), "x", "no version"},
		{streamPath("cart-1"), "-1", "no version"},
	} {
		l := s.listen(c.path)
		l.last = c.last
		status := l.connect()
		text, err := io.ReadAll(l.response.Body)
		if status != http.StatusBadRequest || !strings.Contains(string(text), c.says) || err != nil {
			t.Errorf("%s with %q: status %d, %s, %v; want 400 that says %q", c.path, c.last, status, text, err, c.says)
		}
	}
}

// A client that is disconnected fifty times at random gets every event once, and in
// order, while several append.
func TestEventsFeedDisconnected(t *testing.T) {
	onKinds(t, oneServer, func(t *testing.T, redisURL string) {
		const producers, each, disconnects = 4, 300, 50
		s := feedsAt(t, redisURL, shopApp(1), nil)
		var appending sync.WaitGroup
		for p := range producers {
			appending.Go(func() {
				for i := 0; i < each; {
					n := min(1+rand.IntN(5), each-i)
					var items []string
					for range n {
						items = append(items, fmt.Sprintf("%d/%d", p, i))
						i++
					}
					s.add("cart-1", items...)
				}
			})
		}
		defer appending.Wait()
		l := s.listen(streamPath("cart-1"))
		lost := 0
		for at, left := 0, 0; at < producers*each; {
			if left == 0 && (lost < disconnects || l.response == nil) {
				if l.response != nil {
					lost++
				}
				l.connect()
				left = 1 + rand.IntN(2*producers*each/disconnects/3)
			}
			m, err := l.next()
			if err != nil {
				t.Fatal(err)
			}
			if at++; m.name != "event" || m.id != fmt.Sprint(at) {
				t.Fatalf("after %d disconnects: event %d is %+v", lost, at, m)
			}
			left = max(left-1, 0)
		}
		if lost != disconnects {
			t.Errorf("it was disconnected %d times, want %d", lost, disconnects)
		}
	})
}

// store returns the store, and a stream that tests end.
func (s *site) stream(name string) (eventstore.Store, eventstore.StreamID) {
	id, err := eventstore.ParseStreamID(name)
	if err != nil {
		s.Fatal(err)
	}
	return s.feeds.space.store, id
}

// A client that wants what was removed is told so, and goes on with what there is.
func TestEventsFeedTruncated(t *testing.T) {
	onKinds(t, everyKind, func(t *testing.T, redisURL string) {
		s := feedsAt(t, redisURL, shopApp(1), nil)
		s.add("cart-1", counted(10)...)
		store, cart := s.stream("cart-1")
		if _, err := store.Truncate(t.Context(), cart, 6, false); err != nil {
			t.Fatal(err)
		}
		for _, last := range []string{"", "0", "3", "4"} {
			l := s.listen(streamPath("cart-1"))
			l.last = last
			l.connect()
			m := l.want("reset@5", "event@6", "event@7", "event@8", "event@9", "event@10")[0]
			if m.value("reason") != "truncated" || m.value("first") != 6. {
				t.Errorf("the reset is %s", m.data)
			}
		}
		l := s.listen(streamPath("cart-1"))
		l.last = "5"
		l.connect()
		l.want("event@6")
	})
}

// A client that has seen more than there is begins anew: also one that is connected.
func TestEventsFeedRegressed(t *testing.T) {
	onKinds(t, everyKind, func(t *testing.T, redisURL string) {
		s := feedsAt(t, redisURL, shopApp(1), nil)
		s.add("cart-1", "tea", "mug")
		l := s.listen(streamPath("cart-1"))
		l.last = "7"
		l.connect()
		if m := l.want("reset@0", "event@1", "event@2")[0]; m.value("reason") != "regressed" || m.value("first") != 1. {
			t.Errorf("the reset is %s", m.data)
		}
		// The end of the stream is lost, as in a failover.
		client := s.feeds.space.client
		if err := client.XDel(t.Context(), s.partitionKey("cart-1", ":s:cart-1"), "2-0").Err(); err != nil {
			t.Fatal(err)
		}
		if err := client.HSet(t.Context(), s.partitionKey("cart-1", ":heads"), "cart-1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		l.want("reset@0", "event@1")
	})
}

// A stream that ends has its clients told so, and the response ends. A browser that comes
// back is told to stay away, unless the stream has begun anew.
func TestEventsFeedEnds(t *testing.T) {
	onKinds(t, everyKind, func(t *testing.T, redisURL string) {
		s := feedsAt(t, redisURL, shopApp(1), nil)
		why := eventstore.Reason{Text: "asked to", By: "ann"}
		ends := map[string]func(eventstore.Store, eventstore.StreamID) error{
			"deleted": func(store eventstore.Store, id eventstore.StreamID) error {
				_, err := store.Delete(t.Context(), id, eventstore.Any, why)
				return err
			},
			"tombstoned": func(store eventstore.Store, id eventstore.StreamID) error {
				_, err := store.Tombstone(t.Context(), id, eventstore.Any, why)
				return err
			},
		}
		for reason, end := range ends {
			name := "cart-" + reason
			s.add(name, "tea", "mug")
			l := s.listen(streamPath(name))
			l.connect()
			l.want("event@1", "event@2")
			store, id := s.stream(name)
			if err := end(store, id); err != nil {
				t.Fatal(err)
			}
			m := l.want("end@3")[0]
			if m.value("reason") != reason || m.value("version") != 3. || m.value("text") != "asked to" || m.value("by") != "ann" {
				t.Errorf("the end is %s", m.data)
			}
			l.over()
			if status := l.connect(); status != http.StatusNoContent {
				t.Errorf("%s: who comes back gets status %d, want 204", reason, status)
			}
			late := s.listen(streamPath(name))
			late.connect()
			late.want("event@1", "event@2", "end@3")
			late.over()
			late = s.listen(streamPath(name) + "?from=end")
			late.connect()
			late.want("end@3")
			late.over()
			if _, err := store.Truncate(t.Context(), id, 3, false); err != nil {
				t.Fatal(err)
			}
			late = s.listen(streamPath(name))
			late.connect()
			late.want("reset@2", "end@3")
			late.over()
			if reason == "tombstoned" {
				continue
			}
			s.add(name, "pot")
			if status := l.connect(); status != http.StatusOK {
				t.Errorf("status %d of a stream that has begun anew", status)
			}
			l.want("event@4")
			late.last = ""
			late.connect()
			if m := late.want("reset@2", "event@3", "event@4")[1]; m.value("type") != eventstore.DeletedType {
				t.Errorf("what ended the stream once is %s", m.data)
			}
		}
	})
}

// A stream that is idle is deleted by retention, and its client told so.
func TestEventsFeedIdle(t *testing.T) {
	onKinds(t, oneServer, func(t *testing.T, redisURL string) {
		s := feedsAt(t, redisURL, App{Name: "shop"}, nil)
		s.add("cart-1", "tea")
		l := s.listen(streamPath("cart-1"))
		l.connect()
		l.want("event@1")
		s.retain(time.Now())
		s.add("cart-1", "mug")
		l.want("event@2")
		s.retain(time.Now().Add(time.Hour))
		m := l.want("end@3")[0]
		if m.value("reason") != "deleted" || m.value("text") != "no event for 1m0s" || m.value("by") != "retention" {
			t.Errorf("the end is %s", m.data)
		}
		l.over()
		store, id := s.stream("cart-1")
		for e, err := range store.Read(t.Context(), id, eventstore.Range{Backward: true}) {
			if err != nil || e.Version != 3 {
				t.Errorf("left of the stream is %s, %v", &e, err)
			}
		}
	})
}

// retain applies, at a time, a rule by which carts without an event for a minute go.
func (s *site) retain(now time.Time) {
	s.Helper()
	r := &projector.Retention{
		Store: s.feeds.space.store, Log: s.feeds.space.Log, Generations: s.feeds.space.Generations,
		Rules: map[string]projector.Rule{"cart": {Idle: time.Minute}}, Now: func() time.Time { return now },
	}
	// What came before an end goes the next time.
	for range 2 {
		if _, err := r.Apply(s.Context(), nil); err != nil {
			s.Fatal(err)
		}
	}
}

// An event that cannot be read ends the feed behind those before it, and says so.
func TestEventsFeedUnreadable(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	s.add("cart-1", "tea", "mug", "pot")
	if err := s.feeds.space.client.XDel(t.Context(), s.partitionKey("cart-1", ":s:cart-1"), "2-0").Err(); err != nil {
		t.Fatal(err)
	}
	l := s.listen(streamPath("cart-1"))
	l.connect()
	m := l.want("event@1", "end@")[1]
	if m.value("reason") != "unreadable" || m.value("version") != 2. || l.last != "1" {
		t.Errorf("the end is %s, behind %s", m.data, l.last)
	}
	l.over()
}

// A head that is damaged is its stream's trouble alone.
func TestEventsFeedDamaged(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	s.add("cart-1", "tea")
	if err := s.feeds.space.client.HSet(t.Context(), s.partitionKey("cart-1", ":heads"), "cart-1", "many").Err(); err != nil {
		t.Fatal(err)
	}
	damaged, other := s.listen(streamPath("cart-1")), s.listen(streamPath("cart-2"))
	damaged.connect()
	other.connect()
	s.following(feedEvents, 2)
	for _, want := range []string{"event@1", "event@2", "event@3"} {
		s.add("cart-2", "tea")
		other.want(want)
	}
}

// Clients stay connected while Redis is away, and go on when it is back.
func TestFeedsSurviveRedis(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisAOF(t)
	s := feedsAt(t, redis.URL(), shopApp(1), func(s *site) { s.keepAlive = 20 * time.Millisecond })
	worker := s.worker()
	defer worker()
	events, changes := s.listen(streamPath("cart-1")), s.listen("projections/carts/changes")
	events.connect()
	s.add("cart-1", "tea")
	events.want("event@1")
	testenv.Wait(t, waitLong, s.says("tea", "get", "carts", "1"))
	changes.connect()
	s.following(feedChanges, 1)
	s.add("cart-1", "mug")
	events.want("event@2")
	changes.until("cart-1", 2)
	redis.Kill()
	for _, l := range []*listener{events, changes} {
		for before := l.comments; l.comments < before+3; {
			if line, err := l.lines.ReadString('\n'); err != nil {
				t.Fatalf("the client is left alone: %v", err)
			} else if strings.HasPrefix(line, ":") {
				l.comments++
			}
		}
	}
	late := s.listen(streamPath("cart-1"))
	if status := late.connect(); status != http.StatusOK {
		t.Errorf("who comes while Redis is away gets status %d", status)
	}
	redis.Restart()
	testenv.Wait(t, waitLong, func() error { return s.feeds.space.client.Ping(t.Context()).Err() })
	s.add("cart-1", "pot")
	events.want("event@3")
	late.want("event@1", "event@2", "event@3")
	changes.until("cart-1", 3)
}

// Handlers return at once when the feeds end, also of clients that do not read.
func TestFeedsEnd(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), func(s *site) { s.patience = time.Hour; small(s, 4<<10) })
	for range 20 {
		s.add("cart-1", strings.Repeat("tea", 100_000))
	}
	l := s.listen(streamPath("cart-1")).slow()
	l.connect() // and does not read
	waiting := s.listen(streamPath("cart-1"))
	waiting.connect()
	for range 20 { // by when the other is stuck
		if _, err := waiting.next(); err != nil {
			t.Fatal(err)
		}
	}
	s.following(feedEvents, 2)
	s.end()
	s.following(feedEvents, 0)
	s.feeds.wait()
	for {
		if _, err := waiting.next(); err != nil {
			break
		}
	}
}

// A client that goes leaves nothing behind.
func TestFeedsEndWithTheClient(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	l := s.listen(streamPath("cart-1"))
	changes := s.listen("projections/carts/changes")
	for range 3 {
		l.connect()
		changes.connect()
		s.following(feedEvents, 1)
		s.following(feedChanges, 1)
		l.leave()
		changes.leave()
		s.following(feedEvents, 0)
		s.following(feedChanges, 0)
	}
	if !s.heads.idle() || !s.newest.idle() || !s.active.idle() {
		t.Error("something is still looked at for them")
	}
}

// partitionKey returns a key of the partition of a stream.
func (s *site) partitionKey(stream, suffix string) string {
	s.Helper()
	for p := range s.feeds.space.store.Partitions() {
		prefix := fmt.Sprintf("{%s:%d}", s.namespace, p)
		if there, err := s.feeds.space.client.Exists(context.WithoutCancel(s.Context()), prefix+":s:"+stream).Result(); err != nil {
			s.Fatal(err)
		} else if there == 1 {
			return prefix + suffix
		}
	}
	s.Fatalf("there is no stream %s", stream)
	return ""
}

// inward is a response that looks into its follower at each write.
type inward struct {
	http.ResponseWriter
	look func(bytes int)
}

func (w *inward) Write(b []byte) (int, error)      { w.look(len(b)); return len(b), nil }
func (w *inward) Flush()                           {}
func (w *inward) SetWriteDeadline(time.Time) error { return nil }

// Of large events a client takes no more room than a few need, however far behind it is:
// little is read for it at a time, and each is written before the next is encoded.
func TestEventsFeedRoom(t *testing.T) {
	const events, each = 12, 900_000
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	for range events {
		s.add("cart-1", strings.Repeat("x", each))
	}
	s.begin()
	c := &follower{feeds: s.feeds, ctx: t.Context(), wake: make(chan struct{}, 1), tick: time.NewTicker(time.Hour)}
	defer c.tick.Stop()
	most, wrote := 0, 0
	c.w = &inward{look: func(bytes int) { most, wrote = max(most, c.out.Len()), wrote+bytes }}
	c.control = http.NewResponseController(c.w)
	c.patience = time.Hour
	feed := &eventFeed{stream: eventstore.MustStreamID("cart", "1"), usual: usualEvent}
	feed.attach(c)
	defer feed.detach()
	for more := true; more; {
		var err error
		if more, err = feed.tell(); err != nil {
			t.Fatal(err)
		}
	}
	if most > 2*each || wrote < events*each || feed.at != events {
		t.Errorf("up to %d bytes wait to be written, of %d; it is told of %s events", most, wrote, feed.at)
	}
	feed.at = 0
	got, more, err := feed.some(turnEvents)
	if n := len(got); n*each > turnBytes+each || !more || err != nil {
		t.Errorf("%d events are read at a time, more: %v, %v", n, more, err)
	}
	s.add("cart-2", counted(100)...)
	feed.stream, feed.at = eventstore.MustStreamID("cart", "2"), 0
	for _, want := range []int{64, 36, 0} {
		got, more, err := feed.some(turnEvents)
		if len(got) != want || more != (want == 64) || err != nil {
			t.Errorf("%d small events are read at a time, more: %v, %v; want %d", len(got), more, err, want)
		}
		feed.at += eventstore.Version(len(got))
	}
}
