package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

const cartChanges = "projections/carts/changes"

// shows returns which version of a stream a read model shows.
func (s *site) shows(projection, stream string) (eventstore.Version, error) {
	a, err := s.feeds.space.assignment(s.Context(), projection)
	if err != nil {
		return 0, err
	}
	if a.Generation, err = s.feeds.space.Generations.Active(s.Context(), projection); err != nil {
		return 0, err
	}
	id, err := eventstore.ParseStreamID(stream)
	if err != nil {
		return 0, err
	}
	at, _, err := a.Checkpoints(s.Context(), []eventstore.StreamID{id})
	if err != nil {
		return 0, err
	}
	return eventstore.Version(at[0].Position.Major), nil
}

// shown waits until a read model shows a version of a stream.
func (s *site) shown(projection, stream string, version eventstore.Version) {
	s.Helper()
	testenv.Wait(s, waitLong, func() error {
		if at, err := s.shows(projection, stream); err != nil || at < version {
			return fmt.Errorf("%s shows version %d of %s, %v; want %d", projection, at, stream, err, version)
		}
		return nil
	})
}

// What is told to have changed can be read, in documents and in rows, on every kind of
// Redis; and a client that comes back is told what came meanwhile.
func TestChangesFeed(t *testing.T) {
	onKinds(t, everyKind, func(t *testing.T, redisURL string) {
		app := shopApp(1)
		projections := []string{"carts", "items"}
		if strings.Contains(redisURL, "cluster") {
			app.Projections, projections = app.Projections[:1], projections[:1] // where rows have no place
		}
		s := feedsAt(t, redisURL, app, nil)
		s.worker()
		s.add("cart-1", "tea")
		for _, projection := range projections {
			s.shown(projection, "cart-1", 1)
			l := s.listen("projections/" + projection + "/changes")
			l.connect()
			for n := range 5 {
				at := s.add("cart-1", "mug", "pot")
				if n == 3 {
					l.connect()
				}
				m := l.until("cart-1", int(at.Last))
				if got, err := s.shows(projection, "cart-1"); err != nil || got < at.Last {
					t.Errorf("told of version %d of what shows %d, %v", at.Last, got, err)
				}
				if last := m[len(m)-1]; last.value("projection") != projection || last.value("generation") != 1. {
					t.Errorf("the change is %s", last.data)
				}
			}
		}
	})
}

// What makes no sense is refused before anything is streamed.
func TestChangesFeedRefuses(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	place := vector{1, make([]lease.Place, 4)}
	for _, c := range []struct {
		path, last string
		status     int
		says       string
	}{
		{"projections/orders/changes", "", http.StatusNotFound, "there is no projection orders"},
		{cartChanges, "7", http.StatusBadRequest, "connect without it"},
		{cartChanges, place.encode("other", "carts"), http.StatusBadRequest, "connect without it"},
		{cartChanges, place.encode(s.namespace, "items"), http.StatusBadRequest, "connect without it"},
		{cartChanges, vector{1, make([]lease.Place, 5)}.encode(s.namespace, "carts"), http.StatusBadRequest, "connect without it"},
		{cartChanges, place.encode(s.namespace, "carts"), http.StatusOK, ""},
	} {
		l := s.listen(c.path)
		l.last = c.last
		status := l.connect()
		if status == http.StatusOK && c.status == http.StatusOK {
			continue
		}
		text, err := io.ReadAll(l.response.Body)
		if status != c.status || !strings.Contains(string(text), c.says) || err != nil {
			t.Errorf("%s with %q: status %d, %s, %v; want %d that says %q", c.path, c.last, status, text, err, c.status, c.says)
		}
	}
}

// A place is read as it was written, and nothing else is taken for one.
func TestVector(t *testing.T) {
	for range 1000 {
		v := vector{generation: projector.Generation(1 + rand.IntN(300))}
		for range 1 + rand.IntN(20) {
			v.places = append(v.places, lease.Place{Entry: lease.EntryID{Millis: rand.Uint64() >> rand.IntN(64), Number: rand.Uint64N(1 << 40)}, Done: rand.IntN(2) == 0})
		}
		text := v.encode("ns", "carts")
		got, err := decodeVector(text, "ns", "carts", len(v.places))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(v) {
			t.Fatalf("%v is read as %v, %v", v, got, err)
		}
		for cut := range len(text) {
			if got, err := decodeVector(text[:cut], "ns", "carts", len(v.places)); err == nil {
				t.Fatalf("%q, a part of %q, is read as %v", text[:cut], text, got)
			}
		}
	}
	usual := vector{generation: 1}
	for range 16 {
		usual.places = append(usual.places, lease.Place{Entry: lease.EntryID{Millis: 1_790_000_000_000 - rand.Uint64N(60_000)}, Done: true})
	}
	if n := len(usual.encode("projectord", "carts")); n > 120 {
		t.Errorf("16 partitions take %d bytes", n)
	}
}

// Whatever a client sends for a place is refused or taken, without harm.
func FuzzVector(f *testing.F) {
	f.Add(vector{1, make([]lease.Place, 4)}.encode("ns", "carts"))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := decodeVector(text, "ns", "carts", 4); err == nil && len(v.places) != 4 {
			t.Errorf("%q is read as %v", text, v)
		}
	})
}

// A client that is disconnected fifty times at random knows in the end of the last version
// of every stream, and is never told of one that cannot be read.
func TestChangesFeedDisconnected(t *testing.T) {
	onKinds(t, []string{"Embedded", "Redis", "Cluster"}, func(t *testing.T, redisURL string) {
		const carts, appends, disconnects = 20, 600, 50
		app := shopApp(1)
		app.Projections = app.Projections[:1]
		s := feedsAt(t, redisURL, app, nil)
		s.worker()
		s.add("cart-0", "tea")
		s.shown("carts", "cart-0", 1)
		l := s.listen(cartChanges)
		l.connect()
		heads := make(map[string]eventstore.Version)
		var appending sync.WaitGroup
		var mu sync.Mutex // guards heads
		for p := range 4 {
			appending.Go(func() {
				for range appends / 4 {
					stream := fmt.Sprintf("cart-%d", 4*rand.IntN(carts/4)+p)
					at := s.add(stream, "tea")
					mu.Lock()
					heads[stream] = max(heads[stream], at.Last)
					mu.Unlock()
				}
			})
		}
		appended := make(chan struct{})
		go func() { appending.Wait(); close(appended) }()
		told := make(map[string]eventstore.Version)
		complete := func() bool {
			select {
			case <-appended:
			default:
				return false
			}
			for stream, head := range heads {
				if told[stream] < head {
					return false
				}
			}
			return true
		}
		lost, messages, resets := 0, 0, 0
		for !complete() {
			m, err := l.next()
			if err != nil {
				t.Fatal(err)
			}
			messages++
			switch stream, _ := m.value("stream").(string); {
			case m.name == nameReset:
				resets++
				for n := range carts { // it reads everything again
					stream := fmt.Sprintf("cart-%d", n)
					if told[stream], err = s.shows("carts", stream); err != nil {
						t.Fatal(err)
					}
				}
			case m.name == nameChange:
				version := eventstore.Version(m.value("version").(float64))
				told[stream] = max(told[stream], version)
				if at, err := s.shows("carts", stream); err != nil || at < version {
					t.Fatalf("told of version %d of %s, which shows %d, %v", version, stream, at, err)
				}
			}
			if lost < disconnects && rand.IntN(4) == 0 {
				lost++
				l.connect()
			}
		}
		// The rest of the disconnects come when everything was appended.
		t.Logf("%d messages, %d disconnects, %d resets", messages, lost, resets)
		if strings.HasPrefix(redisURL, "redis://") && redisURL == testenv.RedisURL(t) && resets > 0 {
			t.Errorf("%d resets without a reason", resets)
		}
		for ; lost < disconnects; lost++ {
			l.connect()
			at := s.add("cart-1", "mug")
			l.until("cart-1", int(at.Last))
		}
	})
}

// together returns names of carts that lie in one partition.
func (s *site) together(n int) []string {
	var names []string
	keys := keyspace.New(s.namespace, s.feeds.space.store.Partitions())
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprintf("cart-%d", i); keys.Partition(name) == 0 {
			names = append(names, name)
		}
	}
	return names
}

// A stream that the read model does not come to holds up no other of its partition, and
// is not passed over by a client that comes back before it has.
func TestChangesFeedWaits(t *testing.T) {
	onKinds(t, oneServer, func(t *testing.T, redisURL string) {
		s := feedsAt(t, redisURL, shopApp(1), nil)
		carts := s.together(3)
		stop := s.worker()
		s.add(carts[2], "tea")
		s.shown("carts", carts[2], 1)
		stop()
		l := s.listen(cartChanges)
		l.connect()
		s.add(carts[0], "tea")
		s.add(carts[1], "tea")
		a, err := s.feeds.space.assignment(t.Context(), "carts")
		if err != nil {
			t.Fatal(err)
		}
		id, _ := eventstore.ParseStreamID(carts[1])
		refused, err := a.Sink.Commit(t.Context(), 1, []projector.Change{{
			Stream: id, Key: id.ID(), To: projector.Checkpoint{Position: projector.PositionOf(1), EventID: s.eventID(id)}, Document: new(projector.Document),
		}})
		if refused != nil || err != nil {
			t.Fatal(refused, err)
		}
		if got := l.until(carts[1], 1); len(got) != 1 {
			t.Errorf("told %v, though nobody has worked on the first", got)
		}
		l.connect()
		if got := l.until(carts[1], 1); len(got) != 1 {
			t.Errorf("told %v again, though nobody has worked on the first", got)
		}
		// Whoever comes now reads what does not show the first one yet.
		late := s.listen(cartChanges)
		late.connect()
		s.worker()
		l.until(carts[0], 1)
		late.until(carts[0], 1)
	})
}

// eventID returns the id of the first event of a stream.
func (s *site) eventID(stream eventstore.StreamID) (id uuid.UUID) {
	for e, err := range s.feeds.space.store.Read(s.Context(), stream, eventstore.Range{Limit: 1}) {
		if err != nil {
			s.Fatal(err)
		}
		id = e.ID
	}
	return id
}

// A parked stream is told of as far as it came, and holds nothing up. Once it is set free
// it is told of again.
func TestChangesFeedParked(t *testing.T) {
	onKinds(t, oneServer, func(t *testing.T, redisURL string) {
		s := feedsAt(t, redisURL, shopApp(1), nil)
		carts := s.together(2)
		s.worker("--attempts", "1")
		s.add(carts[1], "tea")
		s.shown("carts", carts[1], 1)
		l := s.listen(cartChanges)
		l.connect()
		// One append with a good event before the bad one.
		id, _ := eventstore.ParseStreamID(carts[0])
		var both []eventstore.Event
		for _, qty := range []int64{1, badQty} {
			e, err := shopEvents().Encode(added{"tea", qty})
			if err != nil {
				t.Fatal(err)
			}
			both = append(both, e)
		}
		if _, err := s.feeds.space.store.Append(t.Context(), id, eventstore.Any, both...); err != nil {
			t.Fatal(err)
		}
		m := l.until(carts[0], 1)
		if last := m[len(m)-1]; last.value("parked") != true || last.value("version") != 1. {
			t.Errorf("of what is parked it is told %s", last.data)
		}
		// It is behind the client: who comes back is told of others alone.
		l.connect()
		at := s.add(carts[1], "mug")
		if got := l.until(carts[1], int(at.Last)); got[0].value("stream") != carts[1] {
			t.Errorf("told again of what is parked: %v", got)
		}
		s.want(exitDone, []string{"parked", "skip", "carts", carts[0], "--version", "2", "--reason", "a test", "--by", "ann", "--yes"})
		m = l.until(carts[0], 2)
		if last := m[len(m)-1]; last.value("parked") != nil {
			t.Errorf("of what was set free it is told %s", last.data)
		}
	})
}

// A client that was away while what it had not seen was trimmed is told to read everything
// again; one that was connected is not.
func TestChangesFeedTrimmed(t *testing.T) {
	t.Parallel()
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	s.worker()
	s.add("cart-1", "tea")
	s.shown("carts", "cart-1", 1)
	away, here := s.listen(cartChanges), s.listen(cartChanges)
	away.connect()
	here.connect()
	s.add("cart-1", "tea")
	away.until("cart-1", 2)
	away.leave()
	carts := s.together(1)
	for range 10 {
		for range 50 {
			s.add(carts[0], "tea")
		}
		at := s.add(carts[0], "tea")
		s.shown("carts", carts[0], at.Last)
		s.shown("items", carts[0], at.Last)
		for _, m := range here.until(carts[0], int(at.Last)) {
			if m.name == nameReset {
				t.Errorf("whoever is connected is told %s", m.data)
			}
		}
	}
	trimmed := 0
	testenv.Wait(t, waitLong, func() error { // the worker may have something pending still
		n, err := s.feeds.space.Log.Trim(t.Context(), 0)
		if trimmed += n; err == nil && trimmed < 300 {
			err = fmt.Errorf("only %d entries are trimmed", trimmed)
		}
		return err
	})
	away.connect()
	m, err := away.next()
	if err != nil || m.name != nameReset || m.value("reason") != "trimmed" || m.id == "" {
		t.Errorf("who was away is told %v, %v", m, err)
	}
	at := s.add(carts[0], "mug")
	away.until(carts[0], int(at.Last))
	for _, m := range here.until(carts[0], int(at.Last)) {
		if m.name == nameReset {
			t.Errorf("whoever is connected is told %s", m.data)
		}
	}
	away.connect()
	at = s.add(carts[0], "mug")
	if m := away.until(carts[0], int(at.Last)); m[0].name == nameReset {
		t.Errorf("who goes on from a reset is told another: %v", m[0])
	}
}

// Where readers see another generation, clients are told so, also those that come back
// after it.
func TestChangesFeedPromoted(t *testing.T) {
	t.Parallel()
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	stop := s.worker()
	s.add("cart-1", "tea")
	s.shown("carts", "cart-1", 1)
	here, away := s.listen(cartChanges), s.listen(cartChanges)
	here.connect()
	away.connect()
	s.add("cart-1", "tea")
	here.until("cart-1", 2)
	away.until("cart-1", 2)
	away.leave()
	stop()
	next := &site{fixture: s.as(shopApp(2)), feeds: s.feeds}
	next.worker("--only", "carts")
	testenv.Wait(t, waitLong, func() error {
		if r := next.call(words("projections promote carts --yes")...); r.code != exitDone {
			return errors.New(r.out + r.err)
		}
		return nil
	})
	for _, l := range []*listener{here, away} {
		if l == away {
			l.connect()
		}
		m, err := l.next()
		if err != nil || m.name != nameReset || m.value("reason") != "promoted" || m.value("generation") != 2. {
			t.Fatalf("told %v, %v", m, err)
		}
	}
	at := s.add("cart-1", "mug")
	for _, l := range []*listener{here, away} {
		m := l.until("cart-1", int(at.Last))
		if last := m[len(m)-1]; last.value("generation") != 2. {
			t.Errorf("the change is %s", last.data)
		}
		l.connect()
	}
}

// A client that was away for long is told all of it, though nothing happens any more, and
// though more has happened than it has room for.
func TestChangesFeedBacklog(t *testing.T) {
	t.Parallel()
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	s.worker()
	s.add("cart-1", "tea")
	s.shown("carts", "cart-1", 1)
	l := s.listen(cartChanges)
	l.connect()
	at := s.add("cart-1", "tea")
	l.until("cart-1", int(at.Last))
	l.leave()
	carts := s.together(40)
	left := make(map[string]eventstore.Version)
	for range 4 * turnPointers / len(carts) {
		var appends []eventstore.StreamAppend
		for _, cart := range carts {
			event, err := shopEvents().Encode(added{"tea", 1})
			if err != nil {
				t.Fatal(err)
			}
			id, _ := eventstore.ParseStreamID(cart)
			appends = append(appends, eventstore.StreamAppend{Stream: id, Expected: eventstore.Any, Events: []eventstore.Event{event}})
		}
		for i, o := range s.feeds.space.store.AppendMany(t.Context(), appends) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			left[carts[i]] = o.Last
		}
	}
	for cart, head := range left {
		s.shown("carts", cart, head)
	}
	l.connect()
	for len(left) > 0 {
		m, err := l.next()
		if err != nil {
			t.Fatalf("%d carts are left: %v", len(left), err)
		}
		stream, _ := m.value("stream").(string)
		if version, _ := m.value("version").(float64); m.name != nameChange || eventstore.Version(version) >= left[stream] {
			delete(left, stream)
		}
	}
	// It stands behind the last of them.
	testenv.Wait(t, waitLong, func() error {
		l.connect()
		at := s.add("cart-1", "tea")
		if n := len(l.until("cart-1", int(at.Last))); n > len(carts) {
			return fmt.Errorf("it is told %d changes again", n)
		}
		return nil
	})
}

// Where a projection never ran, its client is told once it does.
func TestChangesFeedOfNothing(t *testing.T) {
	t.Parallel()
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	l := s.listen(cartChanges)
	l.connect()
	s.following(feedChanges, 1)
	s.worker()
	s.add("cart-1", "tea")
	m, err := l.next()
	if err != nil || m.name != nameReset || m.value("reason") != "late" {
		t.Errorf("told %v, %v", m, err)
	}
	s.shown("carts", "cart-1", 1)
	at := s.add("cart-1", "tea")
	l.until("cart-1", int(at.Last))
}

// What a client stands behind is told to it without a change too, so that it need not
// begin anew because others' events were trimmed.
func TestChangesFeedKeepsUp(t *testing.T) {
	t.Parallel()
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), func(s *site) { s.keepAlive = 20 * time.Millisecond })
	s.worker()
	s.add("cart-1", "tea")
	s.shown("carts", "cart-1", 1)
	l := s.listen(cartChanges)
	l.connect()
	first := ""
	s.add("order-1", "tea") // which is not the projection's
	for {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if id, found := strings.CutPrefix(line, "id: "); found {
			if first != "" && id != first {
				return
			}
			first = id
		}
	}
}

// meanwhile is a sink that something happens to after it was asked.
type meanwhile struct {
	projector.Sink
	at   uint64
	then func()
}

func (m *meanwhile) Checkpoints(_ context.Context, _ projector.Generation, keys []string) (at []projector.Checkpoint, failed []error, err error) {
	at = make([]projector.Checkpoint, len(keys))
	for i := range at {
		at[i].Position.Major = m.at
	}
	m.then()
	return at, nil, nil
}

// What is applied to a stream just before it is parked is not left out: nobody is told of
// a parked stream that stands where it stood before that.
func TestStandingWhileParking(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	a, err := s.feeds.space.assignment(t.Context(), "carts")
	if err != nil {
		t.Fatal(err)
	}
	stream := eventstore.StreamID{}
	if stream, err = eventstore.ParseStreamID("cart-1"); err != nil {
		t.Fatal(err)
	}
	sink := &meanwhile{Sink: a.Sink, at: 1}
	keys := keyspace.New(s.namespace, 4)
	sink.then = func() {
		sink.at = 2 // the worker goes on, and comes to an event that it parks
		key := keys.Parked(keys.Partition("cart-1"), a.Group())
		if err := s.feeds.space.client.HSet(t.Context(), key, "cart-1", `{"version":3}`).Err(); err != nil {
			t.Fatal(err)
		}
	}
	a.Sink = sink
	group := s.feeds.space.Log.Existing(a.Group())
	for _, want := range []standing{{1, false}, {2, true}} {
		got, err := standingOf(t.Context(), a, group, []eventstore.StreamID{stream})
		if err != nil || got[0] != want {
			t.Errorf("it stands at %v, %v; want %v", got, err, want)
		}
	}
}

// What looks how far generations have come ends with the last client that is told of them,
// also where a client made the generation up.
func TestChangesFeedForgetsGenerations(t *testing.T) {
	s := feedsAt(t, testenv.RedisURL(t), shopApp(1), nil)
	s.worker()
	s.add("cart-1", "tea")
	s.shown("carts", "cart-1", 1)
	looking := func() int {
		s.feeds.mu.Lock()
		defer s.feeds.mu.Unlock()
		return len(s.feeds.standings)
	}
	one, other := s.listen(cartChanges), s.listen(cartChanges)
	one.connect()
	one.until("cart-1", int(s.add("cart-1", "tea").Last))
	for _, made := range []projector.Generation{7, 8, 9} {
		other.last = vector{made, make([]lease.Place, 4)}.encode(s.namespace, "carts")
		other.connect()
		if m, err := other.next(); err != nil || m.name != nameReset {
			t.Fatalf("who made a generation up gets %v, %v", m, err)
		}
		other.until("cart-1", int(s.add("cart-1", "tea").Last))
		if n := looking(); n != 1 {
			t.Errorf("%d generations are looked at", n)
		}
	}
	one.leave()
	s.following(feedChanges, 1)
	other.until("cart-1", int(s.add("cart-1", "tea").Last))
	other.leave()
	s.following(feedChanges, 0)
	if n := looking(); n != 0 {
		t.Errorf("%d generations are looked at for nobody", n)
	}
	other.last = ""
	other.connect()
	other.until("cart-1", int(s.add("cart-1", "tea").Last))
}
