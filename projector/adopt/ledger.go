package adopt

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

//go:embed lua/move.lua
var moveSource string

//go:embed lua/skip.lua
var skipSource string

var (
	moveScript = redis.NewScript(moveSource)
	skipScript = redis.NewScript(skipSource)
)

// Unknown is a number that the server does not tell.
const Unknown = -1

// Position is how far a key was adopted.
type Position struct {
	// ID is the entry that is done with, and all before it.
	ID ID
	// Added is how many entries had been added to the key up to it, [Unknown] where the
	// server does not count them.
	Added int64
	// Lost is how many were trimmed or deleted before they were adopted, as far as the
	// server lets that be known.
	Lost int64
}

func (p Position) text() string {
	added := "-"
	if p.Added != Unknown {
		added = strconv.FormatInt(p.Added, 10)
	}
	return p.ID.String() + " " + added + " " + strconv.FormatInt(p.Lost, 10)
}

func parsePosition(text string) (p Position, err error) {
	parts := strings.Split(text, " ")
	if len(parts) != 3 {
		return p, fmt.Errorf("%q is no position", clip(text))
	}
	p.Added = Unknown
	var err2, err3 error
	p.ID, err = ParseID(parts[0])
	if parts[1] != "-" {
		p.Added, err2 = strconv.ParseInt(parts[1], 10, 64)
	}
	p.Lost, err3 = strconv.ParseInt(parts[2], 10, 64)
	return p, errors.Join(err, err2, err3)
}

// Parking says why a key is not adopted any further.
type Parking struct {
	// Entry is the one that could not be adopted.
	Entry  ID        `json:"entry"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Fields are those of the entry, shortened where they are long.
	Fields []Field `json:"fields"`
}

// Skip says who had an entry left out, and why.
type Skip struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Parking is what the entry was left out for.
	Parking Parking `json:"parking"`
}

// Key is a key of a source, as the ledger knows it.
type Key struct {
	Source, Name string
	Position     Position
	Parked       *Parking // nil where it is not
}

// Kept says what a source reads, for those that do not have its code.
type Kept struct {
	Keys    []string `json:"keys,omitempty"`
	Pattern string   `json:"pattern,omitempty"`
	// Elsewhere says that the keys are in another Redis than the namespace.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// Ledger is what a namespace keeps about the sources that are adopted into it. It is safe
// for concurrent use by any number of processes; the client belongs to the caller.
type Ledger struct {
	client    redis.UniversalClient
	namespace string
}

// NewLedger returns the ledger of a namespace; empty is the default one.
func NewLedger(client redis.UniversalClient, namespace string) (*Ledger, error) {
	namespace = cmp.Or(namespace, keyspace.DefaultNamespace)
	if err := keyspace.CheckNamespace(namespace); err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	return &Ledger{client, namespace}, nil
}

// ErrNotParked is wrapped by errors about keys that are not parked as was said.
var ErrNotParked = errors.New("not parked")

// Sources returns what was ever adopted, by the names of the sources.
func (l *Ledger) Sources(ctx context.Context) (map[string]Kept, error) {
	all, err := l.hash(ctx, keyspace.AdoptedSources(l.namespace))
	if err != nil {
		return nil, err
	}
	sources := make(map[string]Kept, len(all))
	for name, text := range all {
		var k Kept
		if err := json.Unmarshal([]byte(text), &k); err != nil {
			return nil, fmt.Errorf("key %s, field %s: %w", keyspace.AdoptedSources(l.namespace), name, err)
		}
		sources[name] = k
	}
	return sources, nil
}

// Keys returns the keys of a source that have a position or are parked, by their names.
func (l *Ledger) Keys(ctx context.Context, source string) ([]Key, error) {
	positions, err := l.positions(ctx, source)
	if err != nil {
		return nil, err
	}
	parked, err := l.parked(ctx, source)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Key, len(positions))
	for name, p := range positions {
		all[name] = Key{Source: source, Name: name, Position: p}
	}
	for name, p := range parked {
		k := all[name]
		k.Source, k.Name, k.Parked = source, name, &p.Parking
		all[name] = k
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Key) int { return strings.Compare(a.Name, b.Name) }), nil
}

// Retry ends the parking of a key: it is tried again within about a second, and parked
// again where that fails. It reports whether the key was parked.
func (l *Ledger) Retry(ctx context.Context, source, name string) (was bool, err error) {
	key := keyspace.AdoptedParked(l.namespace, source)
	err = redisx.Retry(ctx, func() error {
		n, err := l.client.HDel(ctx, key, name).Result()
		was = was || n > 0
		return err
	})
	return was, explained(key, err)
}

// Skip leaves out the entry that a key is parked at, for good, and has the key go on behind
// it within about a second. By and Reason of why are kept, with the entry. The error wraps
// [ErrNotParked] where the key is not parked at that entry.
func (l *Ledger) Skip(ctx context.Context, source, name string, entry ID, why Skip) error {
	parked, err := l.parked(ctx, source)
	if err != nil {
		return err
	}
	found, ok := parked[name]
	switch {
	case !ok:
		return fmt.Errorf("%s of source %s is %w", name, source, ErrNotParked)
	case found.Entry != entry:
		return fmt.Errorf("%s of source %s is %w at %s, but at %s: %s", name, source, ErrNotParked, entry, found.Entry, found.Reason)
	}
	why.Parking = found.Parking
	text, err := json.Marshal(why)
	if err != nil {
		return err
	}
	keys := []string{keyspace.AdoptedParked(l.namespace, source), keyspace.AdoptedSkipped(l.namespace, source)}
	var was int
	err = redisx.Retry(ctx, func() error {
		was, err = skipScript.Run(ctx, l.client, keys, name, found.text, skipField(name, entry), text).Int()
		return err
	})
	if err == nil && was == 0 {
		err = fmt.Errorf("%s of source %s is %w as it was any more: somebody else was faster", name, source, ErrNotParked)
	}
	return explained(keys[1], err)
}

// Skips returns what was left out of a source, by <key>@<entry>.
func (l *Ledger) Skips(ctx context.Context, source string) (map[string]Skip, error) {
	key := keyspace.AdoptedSkipped(l.namespace, source)
	all, err := l.hash(ctx, key)
	if err != nil {
		return nil, err
	}
	skips := make(map[string]Skip, len(all))
	for field, text := range all {
		var s Skip
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, fmt.Errorf("key %s, field %s: %w", key, field, err)
		}
		skips[field] = s
	}
	return skips, nil
}

func skipField(name string, entry ID) string { return name + "@" + entry.String() }

func (l *Ledger) positions(ctx context.Context, source string) (map[string]Position, error) {
	key := keyspace.Adopted(l.namespace, source)
	all, err := l.hash(ctx, key)
	if err != nil {
		return nil, err
	}
	positions := make(map[string]Position, len(all))
	for name, text := range all {
		p, err := parsePosition(text)
		if err != nil {
			return nil, fmt.Errorf("key %s, field %s: %w", key, name, err)
		}
		positions[name] = p
	}
	return positions, nil
}

// position returns how far a key was adopted; the zero Position where nobody knows.
func (l *Ledger) position(ctx context.Context, source, name string) (p Position, err error) {
	key := keyspace.Adopted(l.namespace, source)
	var text string
	err = redisx.Retry(ctx, func() error {
		text, err = l.client.HGet(ctx, key, name).Result()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil):
		return Position{}, nil
	case err != nil:
		return p, explained(key, err)
	}
	return parsePosition(text)
}

// texts returns how positions are kept, "" for none.
func (l *Ledger) texts(ctx context.Context, source string, names []string) ([]string, error) {
	key := keyspace.Adopted(l.namespace, source)
	texts := make([]string, len(names))
	err := redisx.Retry(ctx, func() error {
		all, err := l.client.HMGet(ctx, key, names...).Result()
		for i, text := range all {
			texts[i], _ = text.(string)
		}
		return err
	})
	return texts, explained(key, err)
}

// kept is a parking and the text it is kept as.
type kept struct {
	Parking
	text string
}

func (l *Ledger) parked(ctx context.Context, source string) (map[string]kept, error) {
	key := keyspace.AdoptedParked(l.namespace, source)
	all, err := l.hash(ctx, key)
	if err != nil {
		return nil, err
	}
	parked := make(map[string]kept, len(all))
	for name, text := range all {
		p := kept{text: text}
		if err := json.Unmarshal([]byte(text), &p.Parking); err != nil {
			return nil, fmt.Errorf("key %s, field %s: %w", key, name, err)
		}
		parked[name] = p
	}
	return parked, nil
}

// park notes that a key is not adopted any further.
func (l *Ledger) park(ctx context.Context, source, name string, p Parking) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return l.set(ctx, keyspace.AdoptedParked(l.namespace, source), name, string(text))
}

// know notes what a source reads.
func (l *Ledger) know(ctx context.Context, s Source) error {
	text, err := json.Marshal(Kept{s.Keys, s.Pattern, s.Client != nil})
	if err != nil {
		return err
	}
	return l.set(ctx, keyspace.AdoptedSources(l.namespace), s.Name, string(text))
}

func (l *Ledger) set(ctx context.Context, key, field, text string) error {
	return explained(key, redisx.Retry(ctx, func() error { return l.client.HSet(ctx, key, field, text).Err() }))
}

// move is a position that is to be moved.
type move struct {
	name     string
	from, to string // texts; from is "" for none
}

// move moves positions, and returns of each the text of the one that is there in place of
// the one it should be moved from: "" where it was moved, " " where there is none.
func (l *Ledger) move(ctx context.Context, source string, moves []move) ([]string, error) {
	key := keyspace.Adopted(l.namespace, source)
	args := make([]any, 0, 3*len(moves))
	for _, m := range moves {
		args = append(args, m.name, m.from, m.to)
	}
	var stands []string
	err := redisx.Retry(ctx, func() (err error) {
		stands, err = moveScript.Run(ctx, l.client, []string{key}, args...).StringSlice()
		return err
	})
	if err == nil && len(stands) != len(moves) {
		err = fmt.Errorf("%d of %d positions were answered", len(stands), len(moves))
	}
	return stands, explained(key, err)
}

// hash returns a hash as a whole.
func (l *Ledger) hash(ctx context.Context, key string) (all map[string]string, err error) {
	err = redisx.Retry(ctx, func() error {
		all, err = l.client.HGetAll(ctx, key).Result()
		return err
	})
	return all, explained(key, err)
}

func explained(key string, err error) error {
	if err == nil || errors.Is(err, ErrNotParked) {
		return err
	}
	return fmt.Errorf("key %s: %w", key, redisx.Explain(err))
}
