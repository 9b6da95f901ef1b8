package redisstore

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// xranges returns how many XRANGE the server has executed.
func xranges(t *testing.T, client *redis.Client) int {
	t.Helper()
	stats := client.Info(t.Context(), "commandstats").Val()
	found := regexp.MustCompile(`cmdstat_xrange:calls=(\d+)`).FindStringSubmatch(stats)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fill appends to streams, count events with size bytes of data to each, and returns the
// reads of them.
func fill(t *testing.T, s *Store, name string, streams, count, size int) []eventstore.StreamRead {
	t.Helper()
	var reads []eventstore.StreamRead
	var appends []eventstore.StreamAppend
	for i := range streams {
		stream := cart(fmt.Sprintf("%s%d", name, i))
		events := newEvents(count)
		for k := range events {
			events[k].Data = append([]byte{0xc5, byte(size >> 8), byte(size)}, make([]byte, size)...) // msgpack: bin 16
		}
		reads = append(reads, eventstore.StreamRead{Stream: stream})
		appends = append(appends, eventstore.StreamAppend{Stream: stream, Expected: eventstore.NoStream, Events: events})
	}
	for _, o := range s.AppendMany(t.Context(), appends) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	return reads
}

func readAll(t *testing.T, s *Store, reads []eventstore.StreamRead) (events int) {
	t.Helper()
	failed, err := s.ReadMany(t.Context(), reads, func(int, *eventstore.Recorded) error { events++; return nil })
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	return events
}

// Short streams are read by one command each, from the first call on and also where large
// events were read before.
func TestShortStreamsAreReadAtOnce(t *testing.T) {
	server := testenv.StartRedis(t)
	client := server.Client(t)
	s := open(t, client, Config{Partitions: 1})
	small, large := fill(t, s, "small", 3*readWidth, 10, 20), fill(t, s, "large", 1, 200, 60_000)
	for _, what := range []string{"at first", "after that", "after large events"} {
		if what == "after large events" {
			readAll(t, s, large)
		}
		before := xranges(t, client)
		if n := readAll(t, s, small); n != 10*len(small) {
			t.Fatalf("%s: %d events", what, n)
		}
		if n := xranges(t, client) - before; n != len(small) {
			t.Errorf("%s: %d XRANGE for %d streams", what, n, len(small))
		}
	}
}

// However small the events were that were read before, large ones are not asked for all at
// once: that would be as much memory of the server.
func TestLargeEventsAfterSmallOnes(t *testing.T) {
	server := testenv.StartRedis(t)
	client := server.Client(t)
	s := open(t, client, Config{Partitions: 1})
	small, large := fill(t, s, "small", readWidth, 20, 20), fill(t, s, "large", 1, 1000, 60_000)
	many := fill(t, s, "many", 64, 16, 60_000)
	for name, reads := range map[string][]eventstore.StreamRead{"one stream": large, "many streams": many} {
		for range 10 {
			readAll(t, s, small)
		}
		used := func(field string) int {
			n, err := strconv.Atoi(client.InfoMap(t.Context(), "memory").Item("Memory", field))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		// Nothing is read beyond the first event of a batch, until the server has
		// made the replies to all it was asked for.
		most, begin := 0, used("used_memory")
		_, err := s.ReadMany(t.Context(), reads, func(int, *eventstore.Recorded) error {
			most = max(most, used("used_memory")-begin)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d MiB", name, most>>20)
		if most > 32<<20 {
			t.Errorf("%s: the server needed %d MiB for replies", name, most>>20)
		}
	}
}

// What a call that failed had seen is nothing to the next one.
func TestCallsBeginAnew(t *testing.T) {
	s := open(t, testenv.Redis(t), Config{Partitions: 1})
	r := new(reading)
	r.start(s, nil, nil)
	fresh := r.usual
	r.seen, r.bytes, r.limit, r.usual = 1, 1<<20, maxEvents, 1
	r.start(s, nil, nil)
	if r.seen != 0 || r.bytes != 0 || r.limit != firstEvents || r.usual != fresh {
		t.Errorf("it begins with %d events of %d bytes, asks for %d and takes them for %d bytes each", r.seen, r.bytes, r.limit, r.usual)
	}
}

// What is read of streams that are worked on is an event or two of each: that of many
// streams takes few batches, each of which may be a round trip.
func TestTailsAreReadInFewBatches(t *testing.T) {
	for _, count := range []int{1, 2} {
		s := open(t, testenv.Redis(t), Config{Namespace: testenv.Namespace(t), Partitions: 1})
		reads := fill(t, s, "short", readWidth, count, 20)
		for range 10 {
			if n := readAll(t, s, reads); n != count*len(reads) {
				t.Fatalf("%d events of %d streams with %d each", n, len(reads), count)
			}
		}
		r := readings.New().(*reading)
		r.start(s, nil, reads)
		batches := 0
		for r.unasked = s.together(reads)[0]; len(r.unasked) > 0; batches++ {
			r.plan()
			r.waiting = 0
			r.seen = count * len(r.batches[0].reads)
			r.limit = max(r.limit, min(growth*r.seen, maxEvents))
		}
		if batches > 4 {
			t.Errorf("%d streams with events %d each take %d times %d batches", len(reads), count, batches, inFlight)
		}
	}
}
