package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/internal/testenv"
)

// neighbours returns n streams of one partition, and one of another.
func neighbours(s *Store, n int) (same []eventstore.StreamID, elsewhere eventstore.StreamID) {
	home := s.keys.Partition(cart(0).String())
	for i := 0; len(same) < n || elsewhere.IsZero(); i++ {
		switch stream := cart(i); {
		case s.keys.Partition(stream.String()) != home:
			elsewhere = stream
		case len(same) < n:
			same = append(same, stream)
		}
	}
	return same, elsewhere
}

// names fails the test unless err is about that key.
func names(t *testing.T, what string, err error, key string, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	for _, want := range append(says, key) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, want that it says %q", what, err, want)
		}
	}
	if errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("%s: the outcome of what was refused is called unknown: %v", what, err)
	}
}

func TestScenario21WrongTypeOfStream(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 4})
		streams, _ := neighbours(s, 5)
		broken := streams[2]
		key := s.keys.Stream(broken.String())
		if err := client.Set(t.Context(), key, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		for _, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.NoStream, eventstore.Exact(0)} {
			_, err := s.Append(t.Context(), broken, expected, newEvents(3)...)
			names(t, "Append with "+expected.String(), err, key, "WRONGTYPE", broken.String())
		}

		var appends []eventstore.StreamAppend
		for _, stream := range streams {
			appends = append(appends, eventstore.StreamAppend{Stream: stream, Expected: eventstore.NoStream, Events: newEvents(3)})
		}
		for i, o := range s.AppendMany(t.Context(), appends) {
			if streams[i] == broken {
				names(t, "AppendMany", o.Err, key, "WRONGTYPE", broken.String())
				continue
			}
			if o.Err != nil || o.Last != 3 {
				t.Errorf("%s: got %+v", streams[i], o)
			}
			holds(t, s, streams[i], appends[i].Events...)
		}

		_, err := ids(t.Context(), s, broken)
		names(t, "Read", err, key, "WRONGTYPE", broken.String())
		var reads []eventstore.StreamRead
		for _, stream := range streams {
			reads = append(reads, eventstore.StreamRead{Stream: stream})
		}
		seen := make([]int, len(reads))
		failed, err := s.ReadMany(t.Context(), reads, func(i int, _ *eventstore.Recorded) error { seen[i]++; return nil })
		if err != nil || len(failed) != len(reads) {
			t.Fatalf("ReadMany: %v, %v", failed, err)
		}
		for i := range reads {
			if streams[i] == broken {
				names(t, "ReadMany", failed[i], key, "WRONGTYPE", broken.String())
			} else if failed[i] != nil || seen[i] != 3 {
				t.Errorf("ReadMany: %s: %d events, %v", streams[i], seen[i], failed[i])
			}
		}
		whole(t, s)

		// A stream that has events, whose key someone has overwritten.
		held := streams[0]
		key = s.keys.Stream(held.String())
		if err := client.Set(t.Context(), key, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		for _, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.Exact(0), eventstore.Exact(3)} {
			_, err := s.Append(t.Context(), held, expected, newEvents(2)...)
			names(t, "Append to what was a stream with "+expected.String(), err, key, "WRONGTYPE", held.String())
		}
		if head, err := s.Head(t.Context(), held); head != 3 || err != nil {
			t.Errorf("the head went to %d, %v", head, err)
		}
	})
}

// The keys of a partition as a whole: nothing is written to it, the others go on.
func TestScenario21WrongTypeOfPartition(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for name, keyOf := range map[string]func(*Store, int) string{
			"heads": func(s *Store, p int) string { return s.keys.Heads(p) },
			"log":   func(s *Store, p int) string { return s.keys.Log(p) },
		} {
			s := open(t, client, Config{Partitions: 4})
			streams, elsewhere := neighbours(s, 3)
			key := keyOf(s, s.keys.Partition(streams[0].String()))
			if err := client.Set(t.Context(), key, "x", 0).Err(); err != nil {
				t.Fatal(err)
			}
			var appends []eventstore.StreamAppend
			for _, stream := range append(streams, elsewhere) {
				appends = append(appends, eventstore.StreamAppend{Stream: stream, Expected: eventstore.Any, Events: newEvents(2)})
			}
			for i, o := range s.AppendMany(t.Context(), appends) {
				if stream := appends[i].Stream; stream == elsewhere {
					if o.Err != nil {
						t.Errorf("%s: the other partition: %v", name, o.Err)
					}
					holds(t, s, stream, appends[i].Events...)
				} else {
					names(t, name, o.Err, key, "WRONGTYPE", stream.String(), "delete or rename")
					if other := s.keys.Stream(stream.String()); o.Err != nil && strings.Contains(o.Err.Error(), other) {
						t.Errorf("%s: the advice is about key %s too: %v", name, other, o.Err)
					}
					holds(t, s, stream)
				}
			}
			if got := client.Get(t.Context(), key).Val(); got != "x" {
				t.Errorf("%s: the key was changed to %q", name, got)
			}
			if name == "heads" {
				_, err := s.Head(t.Context(), streams[0])
				names(t, "Head", err, key, "WRONGTYPE", streams[0].String())
				for _, err := range s.Streams(t.Context(), "cart") {
					if err != nil {
						names(t, "Streams", err, key, "WRONGTYPE")
					}
				}
			}
			// With the wrong key out of the way everything works again.
			if err := client.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
			for _, o := range s.AppendMany(t.Context(), appends[:len(streams)]) {
				if o.Err != nil || o.Duplicate {
					t.Errorf("%s: after the key was deleted: %+v", name, o)
				}
			}
			whole(t, s)
		}
	})
}

// A head that is no number concerns its own stream, not those that share a call
// with it.
func TestScenario21DamagedHead(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, damage := range []string{"", "x", "-1", "-2", "-3", "1.5", "1e3", "0x10", " 1", "nan", "inf", "d", "t", "5x", "5dd", "5dt", "5D", "d5"} {
			s := open(t, client, Config{Partitions: 1})
			broken := cart("broken")
			if err := client.HSet(t.Context(), s.keys.Heads(0), broken.String(), damage).Err(); err != nil {
				t.Fatal(err)
			}
			for _, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.NoStream, eventstore.Exact(1)} {
				before, after := cart(fmt.Sprint("before ", expected)), cart(fmt.Sprint("after ", expected))
				appends := []eventstore.StreamAppend{
					{Stream: before, Expected: eventstore.Any, Events: newEvents(2)},
					{Stream: broken, Expected: expected, Events: newEvents(2)},
					{Stream: after, Expected: eventstore.Any, Events: newEvents(2)},
				}
				outcomes := s.AppendMany(t.Context(), appends)
				names(t, fmt.Sprintf("head %q with %s", damage, expected), outcomes[1].Err, s.keys.Heads(0), broken.String())
				for _, i := range []int{0, 2} {
					if outcomes[i].Err != nil {
						t.Errorf("head %q with %s: %v", damage, expected, outcomes[i].Err)
					}
					holds(t, s, appends[i].Stream, appends[i].Events...)
				}
			}
			_, err := s.Head(t.Context(), broken)
			names(t, "Head", err, s.keys.Heads(0), broken.String())
			_, err = s.Delete(t.Context(), broken, eventstore.Any, eventstore.Reason{})
			names(t, "Delete", err, s.keys.Heads(0), broken.String())
			_, err = s.Truncate(t.Context(), broken, 3, false)
			names(t, "Truncate", err, s.keys.Heads(0), broken.String())
			holds(t, s, broken)
			if err := client.HDel(t.Context(), s.keys.Heads(0), broken.String()).Err(); err != nil {
				t.Fatal(err)
			}
			whole(t, s)
		}
	})
}

// A head that is larger than any version can be concerns its own stream too.
func TestScenario21HeadBeyondLastVersion(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, c := range []struct {
			head     string
			expected eventstore.ExpectedVersion
			events   int
		}{
			{"9007199254740993", eventstore.Any, 4},
			{"9007199254740993", eventstore.StreamExists, 4},
			{"9007199254740993", eventstore.NoStream, 4},
			{"9007199254740993", eventstore.Exact(lastVersion + 2), 4},
			{"9007199254740991", eventstore.Any, 1},
			{"9007199254740991", eventstore.Exact(lastVersion), 1},
			{"9007199254740990", eventstore.Any, 2},
			{"9007199254740993d", eventstore.Any, 4},
			{"9007199254740993t", eventstore.Any, 4},
			{"9223372036854775807", eventstore.Exact(math.MaxInt64), 3},
			{"18446744073709551615", eventstore.Any, 2},
			{strings.Repeat("9", 400), eventstore.Any, 2},
		} {
			what := fmt.Sprintf("head %.25s with %s", c.head, c.expected)
			s := open(t, client, Config{Partitions: 1})
			broken := cart("bad")
			if err := client.HSet(t.Context(), s.keys.Heads(0), broken.String(), c.head).Err(); err != nil {
				t.Fatal(err)
			}
			appends := []eventstore.StreamAppend{
				{Stream: cart("first"), Expected: eventstore.Any, Events: newEvents(1)},
				{Stream: broken, Expected: c.expected, Events: newEvents(c.events)},
				{Stream: cart("next"), Expected: eventstore.Any, Events: newEvents(1)},
			}
			outcomes := s.AppendMany(t.Context(), appends)
			names(t, what, outcomes[1].Err, s.keys.Heads(0), broken.String(), "set the field")
			for _, i := range []int{0, 2} {
				if outcomes[i].Err != nil {
					t.Errorf("%s: %v", what, outcomes[i].Err)
				}
				holds(t, s, appends[i].Stream, appends[i].Events...)
			}
			if got := client.HGet(t.Context(), s.keys.Heads(0), broken.String()).Val(); got != c.head {
				t.Errorf("%s: it was set to %s", what, got)
			}
			if n := client.XLen(t.Context(), s.keys.Stream(broken.String())).Val(); n != 0 {
				t.Errorf("%s: %d events were written", what, n)
			}
			if err := client.HDel(t.Context(), s.keys.Heads(0), broken.String()).Err(); err != nil {
				t.Fatal(err)
			}
			whole(t, s)
		}
	})
}

// Up to the last version everything is exact, also where Lua would write numbers in
// another form.
func TestAppendUpToLastVersion(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 1})
		const before = eventstore.Version(lastVersion - 4)
		key := s.keys.Stream("cart-1")
		if err := client.HSet(t.Context(), s.keys.Heads(0), "cart-1", before.String()).Err(); err != nil {
			t.Fatal(err)
		}
		events := newEvents(2)
		exactly := eventstore.Exact(before)
		for _, c := range []struct {
			expected  eventstore.ExpectedVersion
			duplicate bool
		}{{eventstore.Any, false}, {eventstore.Any, true}, {exactly, true}, {eventstore.NoStream, true}} {
			at, err := s.Append(t.Context(), cart(1), c.expected, events...)
			if want := (eventstore.Appended{First: before + 1, Last: before + 2, Duplicate: c.duplicate}); at != want || err != nil {
				t.Errorf("%s: got %+v, %v, want %+v", c.expected, at, err, want)
			}
		}
		if at, err := s.Append(t.Context(), cart(1), eventstore.Exact(before+2), newEvents(2)...); err != nil || at.Last != lastVersion {
			t.Errorf("the last two: got %+v, %v", at, err)
		}
		_, err := s.Append(t.Context(), cart(1), eventstore.Any, newEvent())
		names(t, "one more", err, s.keys.Heads(0), "the last there can be")
		var got []string
		for _, e := range client.XRange(t.Context(), key, "-", "+").Val() {
			got = append(got, e.ID)
		}
		if want := []string{"9007199254740988-0", "9007199254740989-0", "9007199254740990-0", "9007199254740991-0"}; !slices.Equal(got, want) {
			t.Errorf("got the entries %v, want %v", got, want)
		}
	})
}

// An event that is refused behind others of its append leaves its stream damaged, and the
// append says so; the other appends of the call are what they would be without it. Redis
// refuses none there that the store sends, so the test sends versions that go back.
func TestScenario21EventRefusedMidway(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 1})
		var batch []*request
		for i := range 4 {
			r := &request{append: eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.NoStream, Events: newEvents(3)}}
			if i == 2 {
				r.append.Expected = eventstore.Any
			}
			texts := takeTexts()
			if err := s.encode(r, texts, time.Now()); err != nil {
				t.Fatal(err)
			}
			texts.give()
			texts.release()
			batch = append(batch, r)
		}
		bad := batch[1]
		bad.args[len(bad.args)-2] = text("1") // which its first event has
		s.call(t.Context(), batch)
		names(t, "the bad one", bad.outcome.Err, s.keys.Stream("cart-1"), "cart-1", "damaged", "event 2 of 3")
		for _, i := range []int{0, 2, 3} {
			if o := batch[i].outcome; o.Err != nil || o.First != 1 || o.Last != 3 || o.Duplicate {
				t.Errorf("%s: got %+v", batch[i].append.Stream, o)
			}
			holds(t, s, cart(i), batch[i].append.Events...)
		}
		if head := client.HGet(t.Context(), s.keys.Heads(0), "cart-1").Val(); head != "3" {
			t.Errorf("the head of the damaged stream is %q", head)
		}
		if n := client.XLen(t.Context(), s.keys.Log(0)).Val(); n != 4 {
			t.Errorf("%d pointers, want one of each stream", n)
		}
	})
}

// failing answers the script with an error of its own when the server has run it.
type failing struct {
	redis.Hook
	err error
}

func (f *failing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f *failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f *failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if name := cmd.Name(); f.err != nil && err == nil && (name == "evalsha" || name == "eval") {
			err = f.err
			cmd.SetErr(err)
		}
		return err
	}
}

// A script that raises may have written before, whatever code its error has.
func TestScenario21ScriptRaises(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	var appends sync.WaitGroup
	for reply, unknown := range map[string]bool{
		"ERR The ID specified in XADD is equal or smaller than the target stream top item script: 4f2a, on @user_script:214.": true,
		"OOM command not allowed when used memory > 'maxmemory'. script: 4f2a, on @user_script:214.":                          true,
		"ERR user_script:12: attempt to index a nil value script: 4f2a, on @user_script:12.":                                  true,
		"ERR Error running script (call to f_4f2a): @user_script:12: attempt to index a nil value":                            true,
		"ERR something else": true,
		"OOM command not allowed when used memory > 'maxmemory'.":  false,
		"NOPERM this user has no permissions to run the 'evalsha'": false,
		"CROSSSLOT Keys in request don't hash to the same slot":    false,
		"MISCONF Redis is configured to save RDB snapshots":        false,
		"BUSY Redis is busy running a script":                      false,
		"READONLY You can't write against a read only replica.":    false,
		"NOAUTH Authentication required.":                          false,
		"NOREPLICAS Not enough good replicas to write.":            false,
		"CLUSTERDOWN Hash slot not served":                         false,
		"LOADING Redis is loading the dataset in memory":           false,
		"MASTERDOWN Link with MASTER is down":                      false,
		"TRYAGAIN Multiple keys request during rehashing of slot":  false,
		"NOSCRIPT No matching script.":                             false,
		"WRONGPASS invalid username-password pair":                 false,
		"MOVED 3999 127.0.0.1:1":                                   false,
	} {
		client, hook := server.Client(t), new(failing)
		client.AddHook(hook)
		s := open(t, client, Config{Partitions: 1})
		hook.err = redisx.ReplyError(reply)
		// Together, since those that may pass are repeated for seconds.
		appends.Go(func() {
			_, err := s.Append(t.Context(), cart(1), eventstore.Any, newEvent())
			if err == nil || errors.Is(err, eventstore.ErrOutcomeUnknown) != unknown || !strings.Contains(err.Error(), reply) {
				t.Errorf("%s: got %v, want that the outcome is unknown: %t", reply, err, unknown)
			}
		})
	}
	appends.Wait()
}

// Waiting for replicas is refused when the events are stored.
func TestScenario21MissingRightToWait(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	admin := server.Client(t)
	whole := open(t, admin, Config{})
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "limited", "reset", "on", "nopass", "~*", "+@all", "-wait").Err(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "limited", Password: "any", MaxRetries: -1, DisableIdentity: true, Protocol: 2})
	defer client.Close()
	config := whole.config
	config.Replicas, config.ReplicaTimeout = 1, time.Millisecond
	limited := &Store{config: config, client: client, keys: whole.keys, queues: make([]commitQueue, 2)}
	event := newEvent()
	if _, err := limited.Append(t.Context(), cart(1), eventstore.Any, event); !errors.Is(err, eventstore.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "allow the Redis user") {
		t.Errorf("got %v; want that the outcome is unknown, and what to allow", err)
	}
	holds(t, whole, cart(1), event)
}

// The memory of the server runs out.
func TestScenario21OutOfMemory(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	s := open(t, client, Config{Partitions: 2})
	mustAppend(t, s, cart("warm"), newEvent())
	used := func() int64 {
		var n int64
		for line := range strings.Lines(client.Info(t.Context(), "memory").Val()) {
			fmt.Sscanf(line, "used_memory:%d", &n)
		}
		return n
	}
	setLimit := func(limit int64) {
		if err := client.ConfigSet(t.Context(), "maxmemory", fmt.Sprint(limit)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	setLimit(used() + 4<<20)

	large := func(n int) []eventstore.Event {
		events := newEvents(n)
		for i := range events {
			events[i].Data = make([]byte, 20_000)
		}
		return events
	}
	// Appends of one call and of many, until there is no memory left.
	var last []eventstore.StreamAppend
	refused := 0
	for round := 0; refused < 5; round++ {
		last = nil
		for i := range 10 {
			last = append(last, eventstore.StreamAppend{Stream: cart(fmt.Sprint(round, i)), Expected: eventstore.NoStream, Events: large(5)})
		}
		for i, o := range s.AppendMany(t.Context(), last) {
			if o.Err == nil {
				holds(t, s, last[i].Stream, last[i].Events...)
				continue
			}
			names(t, "out of memory", o.Err, s.keys.Heads(s.keys.Partition(last[i].Stream.String())), "OOM", "maxmemory", last[i].Stream.String())
			holds(t, s, last[i].Stream)
			refused++
		}
		if round > 1000 {
			t.Fatal("the memory never runs out")
		}
	}
	for i := 0; ; i++ {
		// What the refused calls took for themselves is free by now; use it up.
		stream, events := cart(fmt.Sprint("more", i)), large(1)
		if _, err := s.Append(t.Context(), stream, eventstore.Any, events...); err != nil {
			names(t, "one more", err, s.keys.Heads(s.keys.Partition(stream.String())), "OOM", "maxmemory")
			holds(t, s, stream)
			break
		}
		holds(t, s, stream, events...)
	}
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the server is gone: %v", err)
	}
	if head, err := s.Head(t.Context(), cart("warm")); head != 1 || err != nil {
		t.Errorf("reading without memory: %d, %v", head, err)
	}
	whole(t, s)

	setLimit(0)
	for i, o := range s.AppendMany(t.Context(), last) {
		if o.Err != nil {
			t.Errorf("with memory again: %v", o.Err)
		}
		holds(t, s, last[i].Stream, last[i].Events...)
	}
	whole(t, s)
}

// Someone has added version 43 behind the store's back: the next append does not
// go on behind it as if nothing was there.
func TestScenario21RawEntryAhead(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 1})
		events := newEvents(42)
		mustAppend(t, s, cart(1), events...)
		key := s.keys.Stream("cart-1")
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: "43-0", Values: []any{keyspace.EventField, "raw"}}).Err(); err != nil {
			t.Fatal(err)
		}
		for _, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.Exact(42)} {
			good := newEvent()
			outcomes := s.AppendMany(t.Context(), []eventstore.StreamAppend{
				{Stream: cart(1), Expected: expected, Events: newEvents(3)},
				{Stream: cart(2), Expected: eventstore.Any, Events: []eventstore.Event{good}},
			})
			names(t, expected.String(), outcomes[0].Err, key, "equal or smaller", "cart-1")
			if outcomes[1].Err != nil {
				t.Errorf("%s: the other stream: %v", expected, outcomes[1].Err)
			}
		}
		if head, err := s.Head(t.Context(), cart(1)); head != 42 || err != nil {
			t.Errorf("the head went to %d, %v", head, err)
		}
		got, err := ids(t.Context(), s, cart(1))
		if len(got) != 42 {
			t.Errorf("read %d events", len(got))
		}
		isEventError(t, err, cart(1), 43, eventstore.ErrCorrupt)
		// Redis itself refuses a second event 43.
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: "43-0", Values: []any{keyspace.EventField, "raw"}}).Err(); err == nil {
			t.Error("a second entry 43-0 was added")
		}
	})
}

// damages are entries that are no events of ours, as a raw XADD would add them.
func damages(t *testing.T) map[string][]any {
	e := newEvent()
	good, err := eventstore.AppendEnvelope(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, with ...byte) []byte { return append(slices.Clone(good[:at]), with...) }
	f := keyspace.EventField
	return map[string][]any{
		"another field":        {"x", good},
		"no field name":        {"", good},
		"two fields":           {f, good, "x", "y"},
		"the field twice":      {f, good, f, good},
		"many fields":          slices.Repeat([]any{f, "x"}, 500),
		"nothing":              {f, ""},
		"text":                 {f, "garbage"},
		"a truncated envelope": {f, good[:len(good)-1]},
		"half an envelope":     {f, good[:len(good)/2]},
		"trailing bytes":       {f, append(slices.Clone(good), 0)},
		"a megabyte":           {f, make([]byte, eventstore.MaxEventBytes+1)},
		"twenty megabytes":     {f, make([]byte, 20<<20)},
		"an array bomb":        {f, []byte{0xdd, 0xff, 0xff, 0xff, 0xff}},
		"a type bomb":          {f, change(eventstore.EnvelopeIDEnd, 0xdb, 0xff, 0xff, 0xff, 0xff)},
		"a payload bomb":       {f, change(len(good)-3, 0xc6, 0xff, 0xff, 0xff, 0xff)},
		"nesting":              {f, slices.Repeat([]byte{0x91}, 1<<20)},
		"another id":           nil, // see below
	}
}

func TestScenario23DamagedEntries(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 2})
		good := newEvent()
		envelope, err := eventstore.AppendEnvelope(nil, &good)
		if err != nil {
			t.Fatal(err)
		}
		damages := damages(t)
		var reads []eventstore.StreamRead
		broken := make(map[eventstore.StreamID]bool)
		for name, fields := range damages {
			stream := cart(name)
			broken[stream] = true
			before := newEvents(2)
			mustAppend(t, s, stream, before...)
			entry := &redis.XAddArgs{Stream: s.keys.Stream(stream.String()), ID: "3-0", Values: fields}
			if fields == nil {
				entry.ID, entry.Values = "3-5", []any{keyspace.EventField, envelope}
			}
			if err := client.XAdd(t.Context(), entry).Err(); err != nil {
				t.Fatal(err)
			}
			behind := &redis.XAddArgs{Stream: entry.Stream, ID: "4-0", Values: []any{keyspace.EventField, envelope}}
			if err := client.XAdd(t.Context(), behind).Err(); err != nil {
				t.Fatal(err)
			}

			// Forward, what stands before it is read; from behind it on, all.
			got, err := ids(t.Context(), s, stream)
			isEventError(t, err, stream, 3, eventstore.ErrCorrupt)
			if len(got) != 2 || got[0] != before[0].ID || got[1] != before[1].ID {
				t.Errorf("%s: read %d events before it", name, len(got))
			}
			n := 0
			for e, err := range s.Read(t.Context(), stream, eventstore.Range{From: 4}) {
				if err != nil || e.ID != good.ID {
					t.Errorf("%s: from behind it: %s, %v", name, &e, err)
				}
				n++
			}
			if n != 1 {
				t.Errorf("%s: %d events behind it", name, n)
			}
			n = 0
			for _, err := range s.Read(t.Context(), stream, eventstore.Range{Backward: true}) {
				if n++; n == 2 {
					isEventError(t, err, stream, 3, eventstore.ErrCorrupt)
				}
			}
			if n != 2 {
				t.Errorf("%s: backward %d steps", name, n)
			}
			healthy := cart("beside " + name)
			mustAppend(t, s, healthy, newEvents(3)...)
			reads = append(reads, eventstore.StreamRead{Stream: stream}, eventstore.StreamRead{Stream: healthy})
		}

		seen := make([]int, len(reads))
		failed, err := s.ReadMany(t.Context(), reads, func(i int, _ *eventstore.Recorded) error { seen[i]++; return nil })
		if err != nil || len(failed) != len(reads) {
			t.Fatalf("ReadMany: %v", err)
		}
		for i, read := range reads {
			if broken[read.Stream] {
				isEventError(t, failed[i], read.Stream, 3, eventstore.ErrCorrupt)
				if seen[i] != 2 {
					t.Errorf("ReadMany: %s: %d events", read.Stream, seen[i])
				}
			} else if failed[i] != nil || seen[i] != 3 {
				t.Errorf("ReadMany: %s: %d events, %v", read.Stream, seen[i], failed[i])
			}
		}
	})
}

// Values far beyond the limit pass by without being held. This measures, so
// nothing runs beside it.
func TestScenario23OversizedInBoundedMemory(t *testing.T) {
	client := testenv.Redis(t)
	s := open(t, client, Config{Partitions: 1})
	var reads []eventstore.StreamRead
	value := make([]byte, 32<<20)
	for i := range 4 {
		stream := cart(i)
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: s.keys.Stream(stream.String()), ID: "1-0", Values: []any{keyspace.EventField, value}}).Err(); err != nil {
			t.Fatal(err)
		}
		reads = append(reads, eventstore.StreamRead{Stream: stream})
	}
	value = nil
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	const bound = 16 << 20
	before := allocated()
	failed, err := s.ReadMany(t.Context(), reads, func(int, *eventstore.Recorded) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if n := allocated() - before; n > bound {
		t.Errorf("ReadMany allocated %d MB to pass over %d MB", n>>20, 4*32)
	}
	for i := range reads {
		isEventError(t, failed[i], reads[i].Stream, 1, eventstore.ErrCorrupt)
	}
	before = allocated()
	_, err = ids(t.Context(), s, cart(0))
	isEventError(t, err, cart(0), 1, eventstore.ErrCorrupt)
	if n := allocated() - before; n > bound {
		t.Errorf("Read allocated %d MB to pass over %d MB", n>>20, 32)
	}
	client.Del(context.WithoutCancel(t.Context()), s.keys.Stream("cart-0"), s.keys.Stream("cart-1"), s.keys.Stream("cart-2"), s.keys.Stream("cart-3"))
}

// The registry of streams has something in it that is no stream: it is reported
// and the others are listed.
func TestScenario23DamagedRegistry(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 1})
		mustAppend(t, s, cart(1), newEvent())
		mustAppend(t, s, cart(2), newEvent())
		key := s.keys.Heads(0)
		if err := client.HSet(t.Context(), key, "cart-", "1", "cart-a\nb", "1", "cart-3", "x").Err(); err != nil {
			t.Fatal(err)
		}
		listed, bad := 0, 0
		for h, err := range s.Streams(t.Context(), "cart") {
			if err != nil {
				names(t, "Streams", err, key, "cart-")
				bad++
				continue
			}
			if h != (eventstore.StreamHead{Stream: h.Stream, Head: 1}) || h.Stream != cart(1) && h.Stream != cart(2) {
				t.Errorf("lists %+v", h)
			}
			listed++
		}
		if listed != 2 || bad != 3 {
			t.Errorf("%d streams listed, %d reported", listed, bad)
		}
	})
}

// A user who lacks a right finds nothing half-written: neither where the head
// cannot be set, nor the pointer.
func TestScenario21MissingRights(t *testing.T) {
	server := testenv.StartRedis(t)
	admin := server.Client(t)
	for _, right := range []string{"hset", "xadd", "hmget", "evalsha"} {
		t.Run(right, func(t *testing.T) {
			whole := open(t, admin, Config{})
			if err := admin.Do(t.Context(), "ACL", "SETUSER", "limited", "reset", "on", "nopass", "~*", "+@all", "-"+right).Err(); err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "limited", Password: "any", MaxRetries: -1, DisableIdentity: true, Protocol: 2})
			defer client.Close()
			// The namespace exists, so opening it writes nothing.
			limited := &Store{config: whole.config, client: client, keys: whole.keys, queues: make([]commitQueue, 2)}
			stream := eventstore.MustStreamID("cart", "42")
			event := eventstore.Event{Type: "added", SchemaVersion: 1, Data: []byte{0x80}}
			if _, err := limited.Append(t.Context(), stream, eventstore.NoStream, event); err == nil || !strings.Contains(err.Error(), "cart-42") || !strings.Contains(err.Error(), "allow the Redis user") {
				t.Errorf("Append = %v; want an error that names the stream and says what to allow", err)
			} else if errors.Is(err, eventstore.ErrOutcomeUnknown) || strings.Contains(err.Error(), "delete") {
				t.Errorf("Append = %v; want that it was refused, and no advice to delete something", err)
			}
			if head, err := whole.Head(t.Context(), stream); head != 0 || err != nil {
				t.Errorf("the head is %d, %v; want none", head, err)
			}
			if n := admin.XLen(t.Context(), whole.keys.Stream("cart-42")).Val(); n != 0 {
				t.Errorf("%d events were written", n)
			}
			if _, err := whole.Append(t.Context(), stream, eventstore.NoStream, event); err != nil {
				t.Errorf("with the right again: %v", err)
			}
		})
	}
}
