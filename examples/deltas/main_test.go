package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

// The story checks itself. What it tells is the same each time.
func TestStory(t *testing.T) {
	t.Parallel()
	out, err := newCrew("").Run(t.Context(), nil)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"comes back with Last-Event-ID: 8, and is told version 9 next", "it has all of versions 1 to 77, once and in order", "from version 1 to 77",
		"have seen the same order of all 50", `deleted, "no event for 1s"`, "message-busy is older, and is there",
		"exact-log    the newest 100 are wanted                100 are left", "400 are left",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// serve has a page, and all that the page asks for, until it is told to stop. An answer is
// kept for as long as it is being written, which is longer than a message may be idle.
func TestServe(t *testing.T) {
	t.Parallel()
	crew := newCrew("")
	t.Cleanup(crew.Kill)
	c, err := crew.Start(t.Context(), "served", []string{"DELTAS_IDLE=1s", "DELTAS_PACE=50ms"}, "serve", "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url, err := c.Says(t.Context(), "In a browser: ")
	if err != nil {
		t.Fatal(err)
	}
	page, err := get(t.Context(), url, nil)
	if err != nil || !strings.Contains(page, "<title>deltas</title>") {
		t.Fatalf("the page at %q is %.200s, %v", url, page, err)
	}
	s := &stage{}
	if err := s.post(t.Context(), &worker{url: strings.TrimSuffix(url, "/")}, "message-mine", "asked", `{"question": "why?"}`); err != nil {
		t.Fatal(err)
	}
	r := &reader{message: "message-mine"}
	err = r.connect(t.Context(), strings.TrimSuffix(url, "/"))
	if err == nil {
		_, err = r.follow(func(t told) bool { return t.name == "end" })
	}
	if err != nil {
		t.Fatal(err)
	}
	end := r.all[len(r.all)-1]
	r.all = r.all[:len(r.all)-1]
	if text, err := r.text(); err != nil || text != reply("why?") || end.data.Text != "no event for 1s" {
		t.Errorf("a reader has %q, %v, and then %+v", text, err, end)
	}
	if err := crew.Stop("served"); err != nil {
		t.Error(err)
	}
}

// Settings that make no sense are refused before anything is done.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"DELTAS_IDLE=soon", "DELTAS_PACE=0s", "DELTAS_IDLE=-1s"} {
		_, err := newCrew("").Run(t.Context(), []string{variable}, "retention", "show")
		name, _, _ := strings.Cut(variable, "=")
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(err.Error(), name+" is a time with its unit") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	_, err := newCrew(testenv.RedisURL(t)).Run(t.Context(), []string{"PROJECTORD_NAMESPACE=" + testenv.Namespace(t)}, "produce", "message-1", "--batch", "0")
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(err.Error(), "--batch are 1 or more") {
		t.Errorf("a batch of 0: %v", err)
	}
}

// inRedis returns a new namespace in a Redis.
func inRedis(t *testing.T) *redisstore.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), testenv.Redis(t), redisstore.Config{Namespace: testenv.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// asked returns a question in a stream.
func asked(t *testing.T, store eventstore.Store, id string) *eventstore.Recorded {
	t.Helper()
	e, err := registry().Encode(Asked{"why?"})
	stream := eventstore.MustStreamID(category, id)
	if err == nil {
		_, err = store.Append(t.Context(), stream, eventstore.NoStream, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range store.Read(t.Context(), stream, eventstore.Range{Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		return &e
	}
	t.Fatal("the question is not there")
	return nil
}

// An answer ends with its context, however long the next word takes.
func TestWriterEnds(t *testing.T) {
	t.Parallel()
	store := inRedis(t)
	question := asked(t, store, "1")
	w := &writer{events: registry(), pace: time.Hour, store: store}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.answer(ctx, Asked{"why?"}, question) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// However often an answer is begun, by however many at once, and whoever else writes
// meanwhile, each piece of it is there once and in its place.
func TestWriterAgain(t *testing.T) {
	t.Parallel()
	store := inRedis(t)
	question := asked(t, store, "tea")
	var writing sync.WaitGroup
	for range 3 {
		writing.Go(func() {
			w := &writer{events: registry(), store: store}
			if err := w.answer(t.Context(), Asked{"why?"}, question); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Go(func() {
		if _, err := produce(t.Context(), store, registry(), question.Stream, "other", 200, 1, question.Time); err != nil {
			t.Error(err)
		}
	})
	writing.Wait()
	if err := (&writer{events: registry(), store: store}).answer(t.Context(), Asked{"why?"}, question); err != nil {
		t.Error(err)
	}
	var text strings.Builder
	others, finished := 0, 0
	for e, err := range store.Read(t.Context(), question.Stream, eventstore.Range{From: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		var f Fragment
		switch {
		case e.Type == "finished":
			finished++
		case e.Metadata.Causation == "":
			others++
		default:
			if _, err := eventstore.DecodeInto(registry(), &e, &f); err != nil {
				t.Fatal(err)
			}
			text.WriteString(f.Text)
		}
	}
	if text.String() != reply("why?") || others != 200 || finished != 1 {
		t.Errorf("there are %d others, %d ends, and %q", others, finished, &text)
	}
}

// Nobody writes to a message that has gone.
func TestWriterOfGone(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*redisstore.Store, eventstore.StreamID) error{
		"deleted": func(s *redisstore.Store, of eventstore.StreamID) error {
			_, err := s.Delete(t.Context(), of, eventstore.Any, eventstore.Reason{Text: "a test"})
			return err
		},
		"begun anew": func(s *redisstore.Store, of eventstore.StreamID) error {
			_, err := s.Delete(t.Context(), of, eventstore.Any, eventstore.Reason{Text: "a test"})
			if err == nil {
				_, err = produce(t.Context(), s, registry(), of, "other", 1, 1, eventstore.Event{}.Time)
			}
			return err
		},
		"tombstoned": func(s *redisstore.Store, of eventstore.StreamID) error {
			_, err := s.Tombstone(t.Context(), of, eventstore.Any, eventstore.Reason{Text: "a test"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := inRedis(t)
			question := asked(t, store, "tea")
			// At the end of the fifth append.
			w := &writer{events: registry(), store: &ending{Store: store, left: 5, end: func() error { return end(store, question.Stream) }}}
			if err := w.answer(t.Context(), Asked{"why?"}, question); err != nil {
				t.Error(err)
			}
			fragments := 0
			for e, err := range store.Read(t.Context(), question.Stream, eventstore.Range{Backward: true}) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Metadata.Causation != "" {
					fragments++
				}
			}
			if fragments != 5 {
				t.Errorf("there are %d fragments, want 5", fragments)
			}
		})
	}
}

// ending ends a stream behind an append.
type ending struct {
	eventstore.Store
	left int
	end  func() error
}

func (s *ending) Append(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, events ...eventstore.Event) (eventstore.Appended, error) {
	appended, err := s.Store.Append(ctx, stream, expected, events...)
	if s.left--; s.left == 0 && err == nil {
		err = s.end()
	}
	return appended, err
}

// Workers that write an answer are killed again and again: whoever reads it has each word
// once and in order, and no worker takes it for unanswered.
func TestKilledWriters(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	crew := newCrew(server.URL())
	t.Cleanup(crew.Kill)
	start := func(name string) *worker {
		t.Helper()
		w, err := startWorker(t.Context(), crew, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	at := start("worker-0")
	if err := new(stage).post(t.Context(), at, "message-tea", "asked", `{"question": "why?"}`); err != nil {
		t.Fatal(err)
	}
	r := &reader{message: "message-tea"}
	for i, version := range []string{"10", "30", "55"} {
		if err := r.connect(t.Context(), at.url); err != nil {
			t.Fatal(err)
		}
		if _, err := r.follow(func(t told) bool { return t.id == version }); err != nil {
			t.Fatal(err)
		}
		next := start(fmt.Sprint("worker-", i+1))
		at.Kill()
		at = next
	}
	err := r.connect(t.Context(), at.url)
	if err == nil {
		_, err = r.follow(func(t told) bool { return t.data.Type == "finished" })
	}
	if err != nil {
		t.Fatal(err)
	}
	if text, err := r.text(); err != nil || text != reply("why?") {
		t.Errorf("the reader has %q, %v", text, err)
	}
	out, err := crew.Run(t.Context(), nil, "audit")
	if err != nil {
		t.Errorf("the audit says %s, %v", out, err)
	}
}

// On a Redis a rule that is approximate leaves some more events than are wanted, less than
// a node, and others are exact.
func TestTrimming(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	run := func(args ...string) string {
		t.Helper()
		out, err := newCrew(server.URL()).Run(t.Context(), nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, args := range []string{"exact-log --fragments 1000", "roughly-log --fragments 1000", "recent-log --fragments 600 --ago 2h", "recent-log --fragments 400"} {
		run(append([]string{"produce"}, strings.Fields(args)...)...)
	}
	run("retention", "apply", "--yes")
	store, err := redisstore.Open(t.Context(), server.Client(t), redisstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, left := &stage{store: store}, make(map[string]int)
	for _, of := range []string{"exact", "roughly", "recent"} {
		if left[of], _, err = s.left(t.Context(), of, "log"); err != nil {
			t.Fatal(err)
		}
	}
	const node = 100 // Redis' stream-node-max-entries; of large events fewer
	if left["exact"] != newest || left["roughly"] <= newest || left["roughly"] >= newest+node || left["recent"] != 400 {
		t.Errorf("there are left %v", left)
	}
	t.Logf("there are left %v", left)
}

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if err := os.Setenv(asProgram, "1"); err != nil { // for all that tests start
		panic(err)
	}
	testenv.Main(m)
}
