package adopt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// snapshot returns what sets all keys of the namespace back to what they are now.
func (f *fixture) snapshot() (back func()) {
	f.Helper()
	all := func() (names []string) {
		names, err := f.client.Keys(f.Context(), "{"+f.namespace+"*").Result()
		if err != nil {
			f.Fatal(err)
		}
		return names
	}
	dumps := make(map[string]string)
	for _, name := range all() {
		text, err := f.client.Dump(f.Context(), name).Result()
		if err != nil {
			f.Fatal(err)
		}
		dumps[name] = text
	}
	return func() {
		_, err := f.client.TxPipelined(f.Context(), func(pipe redis.Pipeliner) error {
			pipe.Del(f.Context(), all()...)
			for name, text := range dumps {
				pipe.Restore(f.Context(), name, 0, text)
			}
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
	}
}

// TestNamespaceWentBack has the Redis of the namespace lose what it acknowledged, as a
// failover does, under an adopter that goes on: the source still has it.
func TestNamespaceWentBack(t *testing.T) {
	for _, test := range []struct {
		name       string
		meanwhile  bool // another one appends what was lost at
		lead       string
		one, other []string
	}{
		{"TheSame", false, "1", []string{"1", "10", "100"}, nil},
		{"Another", false, "2", []string{"1", "10"}, []string{"100"}},
		{"AtTheSameHead", true, "1", []string{"1", "own", "10", "100"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, testenv.Redis(t))
			name := f.key("one")
			f.adopting(f.adopter(f.source(name), f.store))
			last := f.add(name, "type", "called", "lead", "1", "n", "1")
			f.wait(f.at(name, last, 0))
			back := f.snapshot()
			last = f.add(name, "type", "called", "lead", "1", "n", "10")
			f.wait(f.at(name, last, 0))
			back()
			if test.meanwhile {
				event := eventstore.Event{Type: "own", SchemaVersion: 1, Data: []byte("\x81\xa1n\xa3own")}
				if _, err := f.store.Append(t.Context(), eventstore.MustStreamID("lead", "1"), eventstore.Any, event); err != nil {
					t.Fatal(err)
				}
			}
			last = f.add(name, "type", "called", "lead", test.lead, "n", "100")
			f.wait(f.at(name, last, 0))
			f.wait(f.has("1", test.one...))
			f.wait(f.has("2", test.other...))
			f.wait(func() error {
				if log := f.log.String(); !strings.Contains(log, "has gone back") || !strings.Contains(log, name) {
					return fmt.Errorf("it is not told: %s", log)
				}
				return nil
			})
		})
	}
}
