package adopt

import (
	"errors"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

// TestHangingDecoder checks that a decoder which does not return parks its key, behind what
// was before that, and neither holds up other keys nor the end of the adopter.
func TestHangingDecoder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	one, two := f.key("one"), f.key("two")
	s := f.source(one, two)
	decode, goOn := s.Decode, make(chan struct{})
	s.Decode = func(e Entry) ([]Adopted, error) {
		if n, _ := e.Get("n"); n == "hang" {
			<-goOn
		}
		return decode(e)
	}
	defer close(goOn)
	a := f.adopter(s, f.store)
	a.config.Deadline = 50 * time.Millisecond
	f.add(one, "type", "called", "lead", "1", "n", "1")
	bad := f.add(one, "type", "called", "lead", "1", "n", "hang")
	f.add(one, "type", "called", "lead", "1", "n", "3")
	last := f.add(two, "type", "called", "lead", "2", "n", "1")
	end := f.adopting(a)
	f.wait(f.parked(one, bad, "the decoder has not returned for 50ms"))
	f.wait(f.has("1", "1"))
	f.wait(f.at(two, last, 0))
	end()

	// It ends, however long the deadline is.
	began := make(chan struct{})
	s.Decode = func(Entry) ([]Adopted, error) { close(began); <-goOn; return nil, errors.New("late") }
	end = f.adopting(f.adopter(s, f.store))
	<-began
	ended := make(chan struct{})
	go func() { defer close(ended); end() }()
	select {
	case <-ended:
	case <-time.After(waitLong):
		t.Fatal("it does not end while its decoder hangs")
	}
}
