package adopt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.NoLeaks) }

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

// fixture is a namespace, and a Redis that others write to.
type fixture struct {
	*testing.T
	client    redis.UniversalClient // of the namespace
	from      redis.UniversalClient // of the keys
	namespace string
	store     eventstore.Store
	log       testenv.Transcript
}

func newFixture(t *testing.T, client redis.UniversalClient) *fixture {
	f := &fixture{T: t, client: client, from: client, namespace: testenv.Namespace(t)}
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: f.namespace, Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	f.store = store
	return f
}

// key returns the name of a key that no other test has.
func (f *fixture) key(name string) string { return f.namespace + "_from:" + name }

// add adds an entry by XADD, and returns its id.
func (f *fixture) add(name string, fields ...string) ID {
	f.Helper()
	return f.addAs(name, "*", fields...)
}

func (f *fixture) addAs(name, id string, fields ...string) ID {
	f.Helper()
	text, err := f.from.XAdd(f.Context(), &redis.XAddArgs{Stream: name, ID: id, Values: fields}).Result()
	if err != nil {
		f.Fatal(err)
	}
	added, err := ParseID(text)
	if err != nil {
		f.Fatal(err)
	}
	return added
}

// source is one of leads: field lead is the entity, type the type.
func (f *fixture) source(keys ...string) Source {
	return Source{Name: "crm", Keys: keys, Decode: Fields{Category: "lead", ID: "lead", TypeField: "type"}.Decode}
}

// adopter returns an adopter of a source into a store.
func (f *fixture) adopter(source Source, store eventstore.Store) *Adopter {
	f.Helper()
	a, err := New(Config{
		Store: store, Client: f.client, Namespace: f.namespace, Source: source,
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	return a
}

// adopting runs an adopter until end is called. Not by Run: another one may be at work.
func (f *fixture) adopting(a *Adopter) (end func()) {
	ctx, stop := context.WithCancel(f.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := a.work(ctx); err != nil {
				fmt.Fprintln(&f.log, err)
			}
		}
	}()
	var once sync.Once
	end = func() { once.Do(func() { stop(); <-done }) }
	f.Cleanup(end)
	return end
}

// stream returns what a stream has, as texts made of a field of each event.
func (f *fixture) stream(id, field string) (all []string) {
	f.Helper()
	for e, err := range f.store.Read(f.Context(), eventstore.MustStreamID("lead", id), eventstore.Range{}) {
		if err != nil {
			f.Fatal(err)
		}
		var of map[string]any
		if err := (eventstore.MsgPack{}).Unmarshal(e.Data, &of); err != nil {
			f.Fatal(err)
		}
		all = append(all, fmt.Sprint(of[field]))
	}
	return all
}

// has returns an error unless a stream has what is wanted of it.
func (f *fixture) has(id string, want ...string) func() error {
	return func() error {
		if got := f.stream(id, "n"); !slices.Equal(got, want) {
			return fmt.Errorf("lead-%s has %v, want %v; log: %s", id, got, want, f.log.String())
		}
		return nil
	}
}

func (f *fixture) wait(condition func() error) {
	f.Helper()
	testenv.Wait(f, waitLong, condition)
}

// at returns an error unless a key of the source stands at an entry.
func (f *fixture) at(name string, id ID, lost int64) func() error {
	return func() error {
		k, err := f.known(name)
		if err == nil && (k.Position.ID != id || k.Position.Lost != lost) {
			err = fmt.Errorf("%s stands at %+v, want %s with %d lost; log: %s", name, k.Position, id, lost, f.log.String())
		}
		return err
	}
}

// parked returns an error unless a key of the source is parked at an entry.
func (f *fixture) parked(name string, id ID, says string) func() error {
	return func() error {
		k, err := f.known(name)
		switch {
		case err != nil:
			return err
		case k.Parked == nil:
			return fmt.Errorf("%s is not parked; log: %s", name, f.log.String())
		case k.Parked.Entry != id || !strings.Contains(k.Parked.Reason, says):
			return fmt.Errorf("%s is parked as %+v", name, *k.Parked)
		}
		return nil
	}
}

func (f *fixture) ledger() *Ledger {
	l, err := NewLedger(f.client, f.namespace)
	if err != nil {
		f.Fatal(err)
	}
	return l
}

func (f *fixture) known(name string) (Key, error) {
	all, err := f.ledger().Keys(f.Context(), "crm")
	if err != nil {
		return Key{}, err
	}
	for _, k := range all {
		if k.Name == name {
			return k, nil
		}
	}
	return Key{}, fmt.Errorf("%s is not known; log: %s", name, f.log.String())
}

// counts skips a test where the server does not count what is added.
func (f *fixture) counting() bool {
	name := f.key("counting")
	f.add(name, "a", "b")
	told, err := newReader(f.from).infos(f.Context(), []string{name})
	if err != nil {
		f.Fatal(err)
	}
	return told[0].added != Unknown
}

// hooked is a store that something is done around the appends of.
type hooked struct {
	eventstore.Store
	around func(ctx context.Context, do func(context.Context) []eventstore.Outcome) []eventstore.Outcome
}

func (h hooked) AppendMany(ctx context.Context, appends []eventstore.StreamAppend) []eventstore.Outcome {
	return h.around(ctx, func(ctx context.Context) []eventstore.Outcome { return h.Store.AppendMany(ctx, appends) })
}

var errLost = errors.New("the reply was lost")

// unknown returns outcomes as of a reply that was lost.
func unknown(outcomes []eventstore.Outcome) []eventstore.Outcome {
	all := make([]eventstore.Outcome, len(outcomes))
	for i := range all {
		all[i].Err = fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, errLost)
	}
	return all
}
