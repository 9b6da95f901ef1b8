package sinktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/projectord/projectord/projector"
)

// DocumentLoader is a sink of documents that can be loaded, and looked at.
type DocumentLoader interface {
	DocumentSink
	projector.Loader
}

// EffectsLoader is a sink of effects that can be loaded, and looked at.
type EffectsLoader interface {
	EffectsSink
	projector.Loader
}

// RunLoader runs the suite of sinks of documents that can be loaded. Each call of open
// returns a sink whose generations are empty and disturbed by nobody else. So does
// breakable, whose sink has a server of its own: crash ends that without warning and
// starts it again, with what it had confirmed.
func RunLoader(t *testing.T, open func(t *testing.T) DocumentLoader, breakable func(t *testing.T) (s DocumentLoader, crash func())) {
	wrap := func(t *testing.T, s DocumentLoader) *loader {
		return &loader{T: t, Loader: s, change: loadedDocument, content: func(g projector.Generation) map[string]string {
			all := make(map[string]string)
			for i := range loadStreams {
				key := fmt.Sprint(i)
				document, _, err := s.Document(t.Context(), g, key)
				if err != nil {
					t.Fatal(err)
				}
				if all[key] = fmt.Sprint(document); document == nil {
					all[key] = "nothing"
				}
			}
			return all
		}}
	}
	runLoader(t, func(t *testing.T) *loader { return wrap(t, open(t)) }, func(t *testing.T) (*loader, func()) {
		s, crash := breakable(t)
		return wrap(t, s), crash
	})
}

// RunEffectsLoader is [RunLoader] for sinks of effects.
func RunEffectsLoader(t *testing.T, open func(t *testing.T) EffectsLoader, breakable func(t *testing.T) (s EffectsLoader, crash func())) {
	wrap := func(t *testing.T, s EffectsLoader) *loader {
		return &loader{T: t, Loader: s, change: loadedEffects, content: func(g projector.Generation) map[string]string {
			all := make(map[string]string)
			for _, key := range loadedRows() {
				row, err := s.Row(t.Context(), g, key)
				if err != nil {
					t.Fatal(err)
				}
				maps.DeleteFunc(row, func(_, value string) bool { return value == "0" })
				all[key] = fmt.Sprint(row)
			}
			return all
		}}
	}
	runLoader(t, func(t *testing.T) *loader { return wrap(t, open(t)) }, func(t *testing.T) (*loader, func()) {
		s, crash := breakable(t)
		return wrap(t, s), crash
	})
}

func runLoader(t *testing.T, open func(*testing.T) *loader, breakable func(*testing.T) (*loader, func())) {
	for _, test := range []struct {
		name string
		run  func(*loader)
	}{
		{"EqualsCommits", testLoadEqualsCommits},
		{"NothingLoaded", testNothingLoaded},
		{"ChunkAgain", testChunkAgain},
		{"ChunkAtOnce", testChunkAtOnce},
		{"CommitAfterFinish", testCommitAfterFinish},
		{"LoadAfterFinish", testLoadAfterFinish},
		{"LoadBesideFinish", testLoadBesideFinish},
		{"BeginLoadAgain", testBeginLoadAgain},
		{"FinishAtOnce", testFinishAtOnce},
		{"NeverBegun", testLoadNeverBegun},
		{"ContextEnded", testLoadContextEnded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(open(t))
		})
	}
	t.Run("Crash", func(t *testing.T) {
		t.Parallel()
		l, crash := breakable(t)
		testLoadCrash(l, crash)
	})
}

// loader is a sink that can be loaded with the test it belongs to. Generation 1 is
// committed to, 2 is loaded.
type loader struct {
	*testing.T
	projector.Loader
	// change returns the change of stream i from one version to another.
	change func(i int, from, to projector.Checkpoint) projector.Change
	// content returns what there is of all streams that a test may use.
	content func(g projector.Generation) map[string]string
}

// The streams of a test, and how many are in a chunk.
const loadStreams, chunkStreams = 600, 20

// loadedDocument is none at every ninth version, which deletes the stream.
func loadedDocument(i int, from, to projector.Checkpoint) projector.Change {
	if to.Position.Major%9 == 0 {
		return vanish(fmt.Sprint(i), from, to)
	}
	return change(fmt.Sprint(i), from, to, "i", fmt.Sprint(i), "version", to.Position.String(), "text", "a\tb\\N\n'\"ü")
}

// loadedEffects change a row that all streams share, some that some share, and one of
// each stream. Only in that are values set, because elsewhere any may be the last.
func loadedEffects(i int, from, to projector.Checkpoint) projector.Change {
	return effect(fmt.Sprint(i), from, to, func(f *projector.Effects) {
		f.Row("all").Add("n", 1)
		f.Row("all").Add("m", int64(-i))
		f.Row(fmt.Sprint("shared", i%7)).Add("n", int64(i))
		own := f.Row(fmt.Sprint("own", i))
		own.SetString("name", "a\tb\\N\n'\"ü")
		own.SetInt("level", -9_223_372_036_854_775_808+int64(i))
		own.SetFloat("share", 0.1*float64(i))
		own.SetBool("open", i%2 == 0)
		own.SetTime("since", time.UnixMicro(int64(i)*-1_234_567_890_123))
		own.Add("n", 2)
	})
}

func loadedRows() []string {
	rows := []string{"all"}
	for i := range 7 {
		rows = append(rows, fmt.Sprint("shared", i))
	}
	for i := range loadStreams {
		rows = append(rows, fmt.Sprint("own", i))
	}
	return rows
}

// chunks returns the changes that begin all streams, in chunks by their names.
func (l *loader) chunks() (all []projector.Change, byName map[string][]projector.Change) {
	byName = make(map[string][]projector.Change)
	for i := range loadStreams {
		c := l.change(i, at(0), at(uint64(i+1)))
		all = append(all, c)
		name := fmt.Sprint("chunk ", i/chunkStreams)
		byName[name] = append(byName[name], c)
	}
	return all, byName
}

func (l *loader) beginLoad(g projector.Generation) {
	l.Helper()
	if err := l.BeginLoad(l.Context(), g); err != nil {
		l.Fatal(err)
	}
}

func (l *loader) load(g projector.Generation, chunk string, changes []projector.Change) {
	l.Helper()
	refused, err := l.Load(l.Context(), g, chunk, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		l.Fatal(err)
	}
}

func (l *loader) finish(g projector.Generation) {
	l.Helper()
	if err := l.Finish(l.Context(), g); err != nil {
		l.Fatal(err)
	}
}

func (l *loader) begin(g projector.Generation) {
	l.Helper()
	if err := l.Begin(l.Context(), g); err != nil {
		l.Fatal(err)
	}
}

// commit commits changes that all have to be made.
func (l *loader) commit(g projector.Generation, changes []projector.Change) {
	l.Helper()
	refused, err := l.Commit(l.Context(), g, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		l.Fatal(err)
	}
}

// wantLoaded compares generation 2 with the changes, committed to generation 1.
func (l *loader) wantLoaded(changes []projector.Change) {
	l.Helper()
	l.begin(1)
	l.commit(1, changes)
	l.wantSame()
	l.wantCheckpoints(2, changes)
}

// wantSame compares generation 2 with generation 1.
func (l *loader) wantSame() {
	l.Helper()
	want, got := l.content(1), l.content(2)
	for key := range want {
		if got[key] != want[key] {
			l.Errorf("%s was loaded as %s; by commits it is %s", key, got[key], want[key])
		}
	}
}

func (l *loader) wantCheckpoints(g projector.Generation, changes []projector.Change) {
	l.Helper()
	var keys []string
	for _, c := range changes {
		keys = append(keys, c.Key)
	}
	stands, failed, err := l.Checkpoints(l.Context(), g, keys)
	if err := errors.Join(append(failed, err)...); err != nil {
		l.Fatal(err)
	}
	for i, c := range changes {
		if stands[i] != c.To {
			l.Errorf("stream %s stands at %s; want %s", c.Stream, stands[i], c.To)
		}
	}
}

func testLoadEqualsCommits(l *loader) {
	all, chunks := l.chunks()
	l.beginLoad(2)
	for name, changes := range chunks {
		l.load(2, name, changes)
	}
	l.finish(2)
	l.wantLoaded(all)
}

func testNothingLoaded(l *loader) {
	l.beginLoad(2)
	l.load(2, "empty", nil)
	l.load(2, "empty", nil)
	l.finish(2)
	l.wantLoaded(nil)
	c := l.change(1, at(0), at(1))
	l.commit(1, []projector.Change{c})
	l.begin(2)
	l.commit(2, []projector.Change{c})
	l.wantSame()
}

// A chunk counts by its name, even if more has come to its streams since.
func testChunkAgain(l *loader) {
	all, chunks := l.chunks()
	l.beginLoad(2)
	for range 2 {
		for name, changes := range chunks {
			l.load(2, name, changes)
			var longer []projector.Change
			for i := range changes {
				longer = append(longer, l.change(i, at(0), at(99)))
			}
			l.load(2, name, longer)
		}
	}
	l.finish(2)
	l.wantLoaded(all)
}

func testChunkAtOnce(l *loader) {
	all, chunks := l.chunks()
	l.beginLoad(2)
	var wg sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(chunks)) {
		for range 8 {
			wg.Go(func() {
				refused, err := l.Load(l.Context(), 2, name, chunks[name])
				if err := errors.Join(append(refused, err)...); err != nil {
					l.Error(err)
				}
			})
		}
		wg.Wait()
	}
	l.finish(2)
	l.wantLoaded(all)
}

func testCommitAfterFinish(l *loader) {
	all, chunks := l.chunks()
	fresh := all[len(all)-1]
	l.beginLoad(2)
	for name, changes := range chunks {
		l.load(2, name, slices.DeleteFunc(changes, func(c projector.Change) bool { return c.Key == fresh.Key }))
	}
	l.finish(2)
	l.begin(1)
	l.begin(2)
	l.commit(1, all)
	l.commit(2, []projector.Change{fresh})
	for i, c := range all {
		if i%10 == 0 {
			wantRefusedIn(l.T, l, 2, l.change(i, at(0), at(800)), c.To)
			wantRefusedIn(l.T, l, 2, l.change(i, at(uint64(i+1)), at(800)), c.To)
			for _, v := range []uint64{801, 802} {
				next := l.change(i, all[i].To, at(v))
				for range 2 {
					l.commit(1, []projector.Change{next})
					l.commit(2, []projector.Change{next})
				}
				all[i] = next
			}
		}
	}
	l.wantSame()
	l.wantCheckpoints(2, all)
}

func testLoadAfterFinish(l *loader) {
	all, _ := l.chunks()
	l.beginLoad(2)
	l.load(2, "first", all[:10])
	l.finish(2)
	for _, name := range []string{"first", "second"} {
		if refused, err := l.Load(l.Context(), 2, name, all[10:]); err == nil {
			l.Errorf("Load after Finish = %v, nil; want an error", refused)
		}
	}
	l.wantLoaded(all[:10])
}

// testLoadBesideFinish loads while the loading is finished: what was loaded is there,
// and the rest is not.
func testLoadBesideFinish(l *loader) {
	_, chunks := l.chunks()
	l.beginLoad(2)
	var loaded []projector.Change
	var mu sync.Mutex
	var wg sync.WaitGroup
	var done atomic.Int64
	for name, changes := range chunks {
		wg.Go(func() {
			refused, err := l.Load(l.Context(), 2, name, changes)
			if refused != nil {
				l.Error(refused)
			}
			done.Add(1)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				loaded = append(loaded, changes...)
			}
		})
	}
	for done.Load() < 3 {
		time.Sleep(100 * time.Microsecond)
	}
	l.finish(2)
	wg.Wait()
	l.wantLoaded(loaded)
}

func testBeginLoadAgain(l *loader) {
	all, chunks := l.chunks()
	l.atOnce(func() error { return l.BeginLoad(l.Context(), 2) })
	for name, changes := range chunks {
		l.beginLoad(2)
		l.load(2, name, changes)
	}
	l.finish(2)
	l.beginLoad(2)
	l.wantLoaded(all)
	if err := l.BeginLoad(l.Context(), 0); err == nil {
		l.Error("BeginLoad accepted generation 0")
	}
}

func (l *loader) atOnce(f func() error) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := f(); err != nil {
				l.Error(err)
			}
		})
	}
	wg.Wait()
}

func testFinishAtOnce(l *loader) {
	all, chunks := l.chunks()
	l.beginLoad(2)
	for name, changes := range chunks {
		l.load(2, name, changes)
	}
	l.atOnce(func() error { return l.Finish(l.Context(), 2) })
	l.finish(2)
	l.wantLoaded(all)
}

func testLoadNeverBegun(l *loader) {
	if _, err := l.Load(l.Context(), 2, "chunk", nil); err == nil {
		l.Error("Load without BeginLoad succeeded")
	}
	if err := l.Finish(l.Context(), 2); err == nil {
		l.Error("Finish without BeginLoad succeeded")
	}
}

func testLoadContextEnded(l *loader) {
	all, _ := l.chunks()
	l.beginLoad(2)
	ctx, cancel := context.WithCancel(l.Context())
	cancel()
	if _, err := l.Load(ctx, 2, "chunk", all); !errors.Is(err, context.Canceled) {
		l.Errorf("Load with an ended context returned %v", err)
	}
	if err := l.Finish(ctx, 2); !errors.Is(err, context.Canceled) {
		l.Errorf("Finish with an ended context returned %v", err)
	}
	l.load(2, "chunk", all)
	l.finish(2)
	l.wantLoaded(all)
}

// testLoadCrash crashes the server again and again while chunks are loaded, and while
// the loading is finished.
func testLoadCrash(l *loader, crash func()) {
	all, chunks := l.chunks()
	l.beginLoad(2)
	var wg sync.WaitGroup
	var loads, failures atomic.Int64
	for name, changes := range chunks {
		for range 2 {
			wg.Go(func() { l.insist(&failures, func() error { return l.tryLoad(name, changes) }); loads.Add(1) })
		}
	}
	for n := range int64(3) {
		for loads.Load() < n*int64(len(chunks)/2)+1 && !l.Failed() {
			time.Sleep(100 * time.Microsecond)
		}
		crash()
	}
	wg.Wait()
	l.Logf("%d loads, %d failures", loads.Load(), failures.Load())
	for i := range 3 {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
			l.insist(&failures, func() error { return l.Finish(l.Context(), 2) })
		})
	}
	time.Sleep(5 * time.Millisecond)
	crash()
	wg.Wait()
	l.Logf("%d failures with those of Finish", failures.Load())
	l.wantLoaded(all)
}

func (l *loader) tryLoad(chunk string, changes []projector.Change) error {
	refused, err := l.Load(l.Context(), 2, chunk, changes)
	if refused != nil {
		l.Errorf("refused: %v", refused)
	}
	return err
}

// insist repeats what fails while a server is away.
func (l *loader) insist(failures *atomic.Int64, f func() error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		failures.Add(1)
		if time.Now().After(deadline) {
			l.Error(err)
			return
		}
	}
}
