package sinktest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/projectord/projectord/projector"
)

// RunVanish runs the part of [Run] that is about documents of streams that were
// deleted. Those have the fields name and note only, both strings, so that it can be
// run with sinks that take no others.
func RunVanish(t *testing.T, open func(t *testing.T) DocumentSink) {
	runDocuments(t, open, Features{}, vanishTests)
}

var vanishTests = []documentTest{
	{"VanishFromNothing", testVanishFromNothing},
	{"VanishFromDocument", testVanishFromDocument},
	{"VanishAgain", testVanishAgain},
	{"VanishedInPlace", testVanishedInPlace},
	{"VanishRefused", testVanishRefused},
	{"VanishRepeated", testVanishRepeated},
	{"VanishLargeDocument", testVanishLargeDocument},
	{"VanishAmongOthers", testVanishAmongOthers},
	{"VanishBesideWriter", testVanishBesideWriter},
}

// vanish returns a change of a document that is no more.
func vanish(key string, from, to projector.Checkpoint) projector.Change {
	c := change(key, from, to)
	c.Document = nil
	return c
}

// secret is in every value that has to be erased, and nowhere else.
const secret = "sekrit"

// wantVanished demands that there is a checkpoint and nothing else, whoever looks.
func (s *sink) wantVanished(key string, at projector.Checkpoint) {
	s.Helper()
	document, stands, err := s.Document(s.Context(), 1, key)
	if err != nil || document != nil || stands != at {
		s.Errorf("document %q is %v at %s, %v; want none at %s", key, document, stands, err, at)
	}
	wantCheckpoint(s.T, s, 1, key, at)
	stored, err := s.Stored(s.Context(), 1, key)
	if err != nil || stored == "" || strings.Contains(stored, secret) {
		s.Errorf("of document %q is left: %s, %v; want its checkpoint alone", key, stored, err)
	}
}

// wantStored demands that Stored shows what is there, or it would not show what is left.
func (s *sink) wantStored(key string) {
	s.Helper()
	if stored, err := s.Stored(s.Context(), 1, key); err != nil || !strings.Contains(stored, secret) {
		s.Errorf("of document %q there is %s, %v; want what was committed", key, stored, err)
	}
}

// testVanishFromNothing is what a rebuild does that meets a deleted stream.
func testVanishFromNothing(t *testing.T, s *sink) {
	three, four := at(3), at(4)
	s.commit(vanish("42", at(0), three))
	s.wantVanished("42", three)
	s.commit(change("42", three, four, "name", secret))
	s.want("42", four, "name", secret)
}

func testVanishFromDocument(t *testing.T, s *sink) {
	one, two, three := at(1), at(2), at(3)
	s.commit(change("42", at(0), one, "name", secret+"1", "note", secret+"2"), change("43", at(0), one, "name", secret))
	s.wantStored("42")
	s.commit(vanish("42", one, two))
	s.wantVanished("42", two)
	s.want("43", one, "name", secret)
	// What was created anew has nothing of what was before.
	s.commit(change("42", two, three, "note", secret+"3"))
	s.want("42", three, "note", secret+"3")
	s.wantStored("42")
}

// testVanishAgain deletes what was deleted before, and what was created anew and has no
// fields.
func testVanishAgain(t *testing.T, s *sink) {
	one, two, three, four, five := at(1), at(2), at(3), at(4), at(5)
	s.commit(change("42", at(0), one, "name", secret))
	s.commit(vanish("42", one, two))
	s.commit(vanish("42", two, three))
	s.wantVanished("42", three)
	s.commit(change("42", three, four))
	document, _, err := s.Document(t.Context(), 1, "42")
	if err != nil || document == nil || len(document) != 0 {
		t.Errorf("the document is %v, %v; want one without fields", document, err)
	}
	s.want("42", four)
	s.commit(vanish("42", four, five))
	s.wantVanished("42", five)
}

// testVanishedInPlace makes documents anew where they stand.
func testVanishedInPlace(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.commit(change("42", at(0), one, "name", secret))
	for range 2 {
		s.commit(vanish("42", one, one))
		s.wantVanished("42", one)
	}
	for range 2 {
		s.commit(change("42", one, one, "note", "right"))
		s.want("42", one, "note", "right")
	}
	s.commit(vanish("42", one, two))
	s.wantVanished("42", two)
	s.wantRefused(vanish("42", one, one), two)
	s.wantRefused(change("42", one, one, "name", "late"), two)
	s.wantVanished("42", two)
}

func testVanishRefused(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.wantRefused(vanish("42", one, two), at(0))
	s.want("42", projector.Checkpoint{})
	s.commit(change("42", at(0), two, "name", "2"))
	s.wantRefused(vanish("42", at(0), one), two)
	s.wantRefused(vanish("42", one, at(3)), two)
	s.wantRefused(vanish("42", at(2), at(3)), two)
	s.want("42", two, "name", "2")
	three := at(3)
	s.commit(vanish("42", two, three))
	s.wantRefused(change("42", two, at(3), "name", "late"), three)
	s.wantRefused(change("42", at(0), one, "name", "late"), three)
	s.wantRefused(vanish("42", two, at(3)), three)
	s.wantVanished("42", three)
}

func testVanishRepeated(t *testing.T, s *sink) {
	one, two, three := at(1), at(2), at(3)
	s.commit(change("42", at(0), one, "name", secret))
	for range 3 {
		s.commit(vanish("42", one, two))
		s.wantVanished("42", two)
	}
	next := change("42", two, three, "name", "3")
	s.commit(next)
	s.commit(next)
	s.wantRefused(vanish("42", one, two), three)
	s.want("42", three, "name", "3")
	for range 2 {
		s.commit(vanish("43", at(0), one))
		s.wantVanished("43", one)
	}
}

func testVanishLargeDocument(t *testing.T, s *sink) {
	one, two, three := at(1), at(2), at(3)
	s.commit(change("42", at(0), one, "name", strings.Repeat(secret, 100_000)))
	s.wantStored("42")
	s.commit(vanish("42", one, two))
	s.wantVanished("42", two)
	s.commit(change("42", two, three, "name", "small"))
	s.want("42", three, "name", "small")
}

func testVanishAmongOthers(t *testing.T, s *sink) {
	one, two := at(1), at(2)
	s.commit(change("there", at(0), one, "name", secret), change("stays", at(0), one, "name", "1"), change("moved", at(0), two, "name", "2"))
	changes := []projector.Change{
		change("new", at(0), one, "name", "1"),
		vanish("there", one, two),
		vanish("moved", one, at(2)),
		change("stays", one, two, "name", "2"),
		vanish("unknown", at(0), one),
	}
	refused, err := s.Commit(t.Context(), 1, changes)
	if err != nil || len(refused) != len(changes) {
		t.Fatalf("Commit = %v, %v; want the third refused", refused, err)
	}
	for i, err := range refused {
		if errors.Is(err, projector.ErrRefused) != (i == 2) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	s.want("new", one, "name", "1")
	s.wantVanished("there", two)
	s.want("moved", two, "name", "2")
	s.want("stays", two, "name", "2")
	s.wantVanished("unknown", one)
}

// testVanishBesideWriter has a deletion and an event, both from the same checkpoint, of
// which one may get through.
func testVanishBesideWriter(t *testing.T, s *sink) {
	from := at(1)
	s.commit(change("42", at(0), from, "name", secret))
	for range 20 {
		gone, next := vanish("42", from, at(from.Position.Major+1)), change("42", from, at(from.Position.Major+1), "name", secret)
		verdicts := make(chan error, 2)
		for _, c := range []projector.Change{gone, next} {
			go func() {
				refused, err := s.Commit(context.WithoutCancel(t.Context()), 1, []projector.Change{c})
				verdicts <- errors.Join(append(refused, err)...)
			}()
		}
		lost := 0
		for range 2 {
			if err := <-verdicts; errors.Is(err, projector.ErrRefused) {
				lost++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if lost != 1 {
			t.Fatalf("%d of two were refused; want one", lost)
		}
		_, from, _ = s.Document(t.Context(), 1, "42")
		if from == gone.To {
			s.wantVanished("42", from)
		} else {
			s.want("42", next.To, "name", secret)
		}
	}
}
