// Package sinktest has the suites every [projector.Sink] passes. A new sink is one
// directory and one test that calls [Run], where it takes documents, or [RunEffects].
package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// Features says how a backend differs.
type Features struct {
	// NoZeroBytes means that strings cannot hold the byte 0.
	NoZeroBytes bool
}

// DocumentSink is a sink of documents that can be looked at.
type DocumentSink interface {
	projector.Sink
	// Document reads a document of a generation, with every value as text, and
	// its checkpoint; nil and the zero Checkpoint where there is none, nil and a
	// checkpoint where it vanished.
	Document(ctx context.Context, g projector.Generation, key string) (map[string]string, projector.Checkpoint, error)
	// Stored reads all that the backend holds for a document, as text, whether
	// readers are shown it or not.
	Stored(ctx context.Context, g projector.Generation, key string) (string, error)
}

// Run runs the suite of sinks that take documents. Each call of open returns a sink
// whose generations are empty and disturbed by nobody else.
func Run(t *testing.T, open func(t *testing.T) DocumentSink, features Features) {
	runDocuments(t, open, features, slices.Concat(documentTests, vanishTests))
}

type documentTest struct {
	name string
	run  func(*testing.T, *sink)
}

var documentTests = []documentTest{
	{"NothingThere", testNothingThere},
	{"CommitAndRead", testCommitAndRead},
	{"KindsOfValues", testKindsOfValues},
	{"EmptyDocument", testEmptyDocument},
	{"FieldsThatWentAway", testFieldsThatWentAway},
	{"LargeDocument", testLargeDocument},
	{"AwkwardKeys", testAwkwardKeys},
	{"StaleCheckpointRefused", testStaleCheckpointRefused},
	{"OtherEventAtPositionRefused", testOtherEventAtPositionRefused},
	{"RepeatedCommitCountsAsMade", testRepeatedCommit},
	{"MadeAnew", testMadeAnew},
	{"OutcomesAreIndependent", testIndependentOutcomes},
	{"ManyInOneCommit", testManyInOneCommit},
	{"GenerationsAreApart", testGenerations},
	{"OneOfManyWritersWins", testOneWriterWins},
	{"BeginTwice", testBeginTwice},
	{"ContextEnded", testContextEnded},
}

func runDocuments(t *testing.T, open func(t *testing.T) DocumentSink, features Features, tests []documentTest) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &sink{T: t, DocumentSink: open(t), Features: features}
			if form := s.Takes(); form != projector.Documents {
				t.Fatalf("the sink takes %s", form)
			}
			if err := s.Begin(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			test.run(t, s)
		})
	}
}

// sink is a sink with the test it belongs to.
type sink struct {
	*testing.T
	DocumentSink
	Features
}

// at returns a checkpoint at a version with a new event id; version 0 is the
// zero checkpoint.
func at(version uint64) projector.Checkpoint {
	if version == 0 {
		return projector.Checkpoint{}
	}
	return projector.Checkpoint{Position: projector.Position{Major: version}, EventID: uuid.New()}
}

// change returns a change of a document with string fields, given as pairs.
func change(key string, from, to projector.Checkpoint, pairs ...string) projector.Change {
	d := new(projector.Document)
	for i := 0; i < len(pairs); i += 2 {
		d.SetString(pairs[i], pairs[i+1])
	}
	return projector.Change{Stream: eventstore.MustStreamID("cart", key), Key: key, From: from, To: to, Document: d}
}

// commit commits changes that all have to be made.
func (s *sink) commit(changes ...projector.Change) {
	s.Helper()
	refused, err := s.Commit(s.Context(), 1, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		s.Fatal(err)
	}
}

// wantRefused commits a change that has to be refused because the document
// stands at actual.
func (s *sink) wantRefused(c projector.Change, actual projector.Checkpoint) {
	s.Helper()
	wantRefused(s.T, s, c, actual)
}

func wantRefused(t *testing.T, s projector.Sink, c projector.Change, actual projector.Checkpoint) {
	t.Helper()
	wantRefusedIn(t, s, 1, c, actual)
}

func wantRefusedIn(t *testing.T, s projector.Sink, g projector.Generation, c projector.Change, actual projector.Checkpoint) {
	t.Helper()
	refused, err := s.Commit(t.Context(), g, []projector.Change{c})
	if err != nil || len(refused) != 1 {
		t.Fatalf("Commit returned %v, %v; want one refusal", refused, err)
	}
	var r *projector.RefusedError
	if !errors.As(refused[0], &r) || !errors.Is(refused[0], projector.ErrRefused) {
		t.Fatalf("refused with %v; want a RefusedError", refused[0])
	}
	if r.Stream != c.Stream || r.From != c.From || r.Actual != actual {
		t.Fatalf("refused with %+v; want stream %s, from %s, actual %s", r, c.Stream, c.From, actual)
	}
}

// want compares a document of generation 1 and its checkpoint, read both ways.
func (s *sink) want(key string, checkpoint projector.Checkpoint, pairs ...string) {
	s.Helper()
	s.wantIn(1, key, checkpoint, pairs...)
}

func (s *sink) wantIn(g projector.Generation, key string, checkpoint projector.Checkpoint, pairs ...string) {
	s.Helper()
	document, stands, err := s.Document(s.Context(), g, key)
	if err != nil {
		s.Fatal(err)
	}
	if stands != checkpoint {
		s.Errorf("document %q stands at %s; want %s", key, stands, checkpoint)
	}
	if len(document) != len(pairs)/2 {
		s.Errorf("document %q is %v; want %v", key, document, pairs)
	}
	for i := 0; i < len(pairs); i += 2 {
		if got, ok := document[pairs[i]]; !ok || got != pairs[i+1] {
			s.Errorf("document %q has %s = %q; want %q", key, pairs[i], got, pairs[i+1])
		}
	}
	wantCheckpoint(s.T, s, g, key, checkpoint)
}

// wantCheckpoint compares a checkpoint.
func wantCheckpoint(t *testing.T, s projector.Sink, g projector.Generation, key string, want projector.Checkpoint) {
	t.Helper()
	checkpoints, failed, err := s.Checkpoints(t.Context(), g, []string{key})
	if err := errors.Join(append(failed, err)...); err != nil {
		t.Fatal(err)
	}
	if len(checkpoints) != 1 || checkpoints[0] != want {
		t.Errorf("Checkpoints(%q) = %v; want %s", key, checkpoints, want)
	}
}

func testNothingThere(t *testing.T, s *sink) {
	s.want("42", projector.Checkpoint{})
	commitOfNothing(t, s)
}

func commitOfNothing(t *testing.T, s projector.Sink) {
	checkpoints, failed, err := s.Checkpoints(t.Context(), 1, nil)
	if err != nil || failed != nil || len(checkpoints) != 0 {
		t.Errorf("Checkpoints of no keys = %v, %v, %v", checkpoints, failed, err)
	}
	refused, err := s.Commit(t.Context(), 1, nil)
	if err != nil || refused != nil {
		t.Errorf("Commit of nothing = %v, %v", refused, err)
	}
}

func testCommitAndRead(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.commit(change("42", at(0), one, "adds", "1", "item:tea", "3"))
	s.want("42", one, "adds", "1", "item:tea", "3")
	s.commit(change("42", one, two, "adds", "2", "item:tea", "5"))
	s.want("42", two, "adds", "2", "item:tea", "5")
}

func testKindsOfValues(t *testing.T, s *sink) {
	c := change("42", at(0), at(1))
	c.Document.SetInt("int", -9_223_372_036_854_775_808)
	c.Document.SetFloat("float", 0.1)
	c.Document.SetBool("bool", true)
	c.Document.SetTime("time", time.Date(2011, 12, 9, 12, 50, 0, 123_456_789, time.UTC))
	text := "a\tb\nü"
	if !s.NoZeroBytes {
		text += "\x00"
	}
	c.Document.SetString("string", text)
	s.commit(c)
	s.want("42", c.To, "int", "-9223372036854775808", "float", "0.1", "bool", "true",
		"time", "2011-12-09T12:50:00.123456Z", "string", text)
}

func testEmptyDocument(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.commit(change("42", at(0), one))
	s.want("42", one)
	s.commit(change("42", one, two))
	s.want("42", two)
}

func testFieldsThatWentAway(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.commit(change("42", at(0), one, "item:tea", "1", "item:mug", "2"))
	s.commit(change("42", one, two, "item:mug", "3"))
	s.want("42", two, "item:mug", "3")
}

// testLargeDocument uses more fields than a backend can name in one command.
func testLargeDocument(t *testing.T, s *sink) {
	const fields = 12_000
	one, two := at(1), at(2)
	c := change("42", at(0), one)
	for i := range fields {
		c.Document.SetInt(fmt.Sprintf("item:%d", i), int64(i))
	}
	s.commit(c)
	document, _, err := s.Document(t.Context(), 1, "42")
	if err != nil || len(document) != fields || document["item:11999"] != "11999" {
		t.Fatalf("read %d fields, %v; want %d", len(document), err, fields)
	}
	s.commit(change("42", one, two, "item:7", "8"))
	s.want("42", two, "item:7", "8")
}

func testAwkwardKeys(t *testing.T, s *sink) {
	keys := []string{"{x}", "a}b{c", "a:b", "with space", "-", "@2:42", "ключ", "'\"\\;--", strings.Repeat("x", 200), strings.Repeat("ж", 100)}
	for i, key := range keys {
		s.commit(change(key, at(0), at(1), "i", fmt.Sprint(i)))
	}
	for i, key := range keys {
		document, _, err := s.Document(t.Context(), 1, key)
		if err != nil || document["i"] != fmt.Sprint(i) {
			t.Errorf("document %q is %v, %v", key, document, err)
		}
	}
}

func testStaleCheckpointRefused(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.wantRefused(change("42", one, two, "n", "stale"), at(0))
	s.commit(change("42", at(0), two, "n", "2"))
	s.wantRefused(change("42", at(0), one, "n", "stale"), two)
	s.wantRefused(change("42", one, at(3), "n", "stale"), two)
	s.want("42", two, "n", "2")
}

func testOtherEventAtPositionRefused(t *testing.T, s *sink) {
	one := at(1)
	s.commit(change("42", at(0), one, "n", "1"))
	s.wantRefused(change("42", at(1), at(2), "n", "forked"), one)
	s.want("42", one, "n", "1")
}

func testRepeatedCommit(t *testing.T, s *sink) {
	c := change("42", at(0), at(1), "n", "1")
	s.commit(c)
	s.commit(c)
	s.want("42", c.To, "n", "1")
}

// testMadeAnew replaces a document where it stands.
func testMadeAnew(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.commit(change("42", at(0), one, "n", "wrong", "m", "1"))
	for range 2 {
		s.commit(change("42", one, one, "n", "right"))
		s.want("42", one, "n", "right")
	}
	s.commit(change("42", one, two, "n", "next"))
	s.wantRefused(change("42", one, one, "n", "late"), two)
	s.wantRefused(change("43", one, one, "n", "nothing"), at(0))
	s.want("42", two, "n", "next")
}

func testIndependentOutcomes(t *testing.T, s *sink) {
	there := at(5)
	s.commit(change("b", at(0), there, "n", "5"))
	a, b, c := change("a", at(0), at(1), "n", "1"), change("b", at(0), at(1), "n", "1"), change("c", at(0), at(1), "n", "1")
	refused, err := s.Commit(t.Context(), 1, []projector.Change{a, b, c})
	if err != nil || len(refused) != 3 || refused[0] != nil || !errors.Is(refused[1], projector.ErrRefused) || refused[2] != nil {
		t.Fatalf("Commit = %v, %v; want only the second refused", refused, err)
	}
	s.want("a", a.To, "n", "1")
	s.want("b", there, "n", "5")
	s.want("c", c.To, "n", "1")
}

func testManyInOneCommit(t *testing.T, s *sink) {
	const documents = 1_500
	changes := make([]projector.Change, documents)
	keys := make([]string, documents)
	for i := range changes {
		keys[i] = fmt.Sprint(i)
		changes[i] = change(keys[i], at(0), at(1), "i", keys[i])
	}
	s.commit(changes...)
	checkpoints, failed, err := s.Checkpoints(t.Context(), 1, keys)
	if err := errors.Join(append(failed, err)...); err != nil {
		t.Fatal(err)
	}
	for i, c := range checkpoints {
		if c != changes[i].To {
			t.Fatalf("document %d stands at %s; want %s", i, c, changes[i].To)
		}
	}
	s.want("1499", changes[1499].To, "i", "1499")
}

func testGenerations(t *testing.T, s *sink) {
	if err := s.Begin(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	one, two := at(1), at(2)
	s.commit(change("42", at(0), one, "n", "1"))
	s.wantIn(2, "42", projector.Checkpoint{})
	refused, err := s.Commit(t.Context(), 2, []projector.Change{change("42", at(0), two, "n", "2")})
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	s.wantIn(1, "42", one, "n", "1")
	s.wantIn(2, "42", two, "n", "2")
}

// testOneWriterWins is the compare-and-set itself: of writers that start from
// the same checkpoint exactly one may get through, at every step.
func testOneWriterWins(t *testing.T, s *sink) {
	const writers, steps = 8, 20
	from := at(0)
	for step := range uint64(steps) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var winners []projector.Checkpoint
		for range writers {
			wg.Go(func() {
				to := at(step + 1)
				refused, err := s.Commit(t.Context(), 1, []projector.Change{change("42", from, to, "winner", to.EventID.String())})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case refused == nil || refused[0] == nil:
					winners = append(winners, to)
				case !errors.Is(refused[0], projector.ErrRefused):
					t.Error(refused[0])
				}
			})
		}
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d of %d writers got through step %d; want one", len(winners), writers, step)
		}
		from = winners[0]
		s.want("42", from, "winner", from.EventID.String())
	}
}

func testBeginTwice(t *testing.T, s *sink) {
	one := at(1)
	s.commit(change("42", at(0), one, "n", "1"))
	if err := s.Begin(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.want("42", one, "n", "1")
	if err := s.Begin(t.Context(), 0); err == nil {
		t.Error("Begin accepted generation 0")
	}
}

func testContextEnded(t *testing.T, s *sink) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(ctx, 1, []projector.Change{change("42", at(0), at(1), "n", "1")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit with an ended context returned %v", err)
	}
	if _, _, err := s.Checkpoints(ctx, 1, []string{"42"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Checkpoints with an ended context returned %v", err)
	}
	s.want("42", projector.Checkpoint{})
}
