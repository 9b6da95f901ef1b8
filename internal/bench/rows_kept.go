package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
	"github.com/projectord/projectord/snapshots"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

const (
	// keptAtOnce is how many snapshots or documents go into a call or pipeline.
	keptAtOnce = 256
	// loadedSnapshots is how many a sample loads at least, of keptSnapshots with so many
	// bytes.
	loadedSnapshots, keptSnapshots, snapshotBytes = 64 * 1024, 4096, 400
	// committedDocuments is how many a sample commits: those of manyStreams streams again
	// and again.
	committedDocuments = 256 * 1024
)

// keptRows are of what is kept beside the events.
func keptRows() []*row {
	return []*row{
		{
			name: "snapshot/load", unit: "snapshots/s", of: reading{of: &measure{name: "snapshots", run: loadSnapshots}},
			limit: reading{of: &measure{name: fmt.Sprintf("pipelined GET, %d at a time", keptAtOnce), run: pipelinedGET}},
			about: fmt.Sprintf("Snapshots of %d bytes are loaded, %d a call; against GET of the same keys, as many in a pipeline.", snapshotBytes, keptAtOnce),
		},
		{
			name: "hset/compare-and-set", unit: "documents/s", goal: 0.55, of: reading{of: &measure{name: "documents", run: commitDocuments}},
			limit: reading{of: &measure{name: fmt.Sprintf("pipelined HSET, %d at a time", keptAtOnce), run: pipelinedHSET}},
			about: fmt.Sprintf("Documents are written where their checkpoints are what they were, %d a call; against HSET of the same fields, as many in a pipeline.", keptAtOnce),
		},
	}
}

// savedSnapshots are there to be loaded.
type savedSnapshots struct {
	store *snapshotsredis.Store
	keys  []snapshots.Key
	names []string // of the keys in Redis
}

// saveSnapshots saves those that are loaded again and again.
func (l *lab) saveSnapshots(ctx context.Context) (saved savedSnapshots, err error) {
	namespace := l.namespace()
	names := keyspace.New(namespace, keyspace.DefaultPartitions)
	saved.store, err = snapshotsredis.New(l.redis, snapshotsredis.Config{Namespace: namespace, Partitions: keyspace.DefaultPartitions})
	if err != nil {
		return saved, err
	}
	state, random := make([]byte, snapshotBytes), rand.New(rand.NewPCG(1, 2))
	for i := range state {
		state[i] = byte(random.Uint32())
	}
	var all []snapshots.Snapshot
	for i := range l.scaled(keptSnapshots, keptAtOnce) / keptAtOnce * keptAtOnce {
		key := snapshots.Key{Definition: "aggregate.cart", Stream: cart(i)}
		all = append(all, snapshots.Snapshot{
			Key: key, Version: 7, EventID: uuid.New(), Fingerprint: 1, Schema: 1, Size: len(state), State: state,
		})
		saved.keys = append(saved.keys, key)
		saved.names = append(saved.names, names.Snapshot(key.Definition, key.Stream.String()))
	}
	failed, err := saved.store.Save(ctx, all)
	return saved, errors.Join(append(failed, err)...)
}

// saved returns the snapshots there are.
func (l *lab) saved(ctx context.Context) (savedSnapshots, error) {
	return shared(ctx, l, "snapshots", l.saveSnapshots)
}

func loadSnapshots(ctx context.Context, l *lab) (sample, error) {
	saved, err := l.saved(ctx)
	if err != nil {
		return sample{}, err
	}
	return l.rate(ctx, func(ctx context.Context) (int, error) {
		n, enough := 0, l.enough(l.scaled(loadedSnapshots, keptAtOnce))
		for !enough(n) {
			at := n % len(saved.keys)
			found, failed, err := saved.store.Load(ctx, saved.keys[at:at+keptAtOnce])
			if err = errors.Join(append(failed, err)...); err != nil {
				return n, err
			}
			for i := range found {
				if len(found[i].State) != snapshotBytes {
					return n, fmt.Errorf("the snapshot of %s is not the one that was saved", saved.keys[at+i])
				}
			}
			n += keptAtOnce
		}
		return n, nil
	})
}

func pipelinedGET(ctx context.Context, l *lab) (sample, error) {
	saved, err := l.saved(ctx)
	if err != nil {
		return sample{}, err
	}
	return l.rate(ctx, func(ctx context.Context) (int, error) {
		n, enough := 0, l.enough(l.scaled(loadedSnapshots, keptAtOnce))
		for !enough(n) {
			at := n % len(saved.names)
			_, err := l.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, name := range saved.names[at : at+keptAtOnce] {
					p.Get(ctx, name)
				}
				return nil
			})
			if err != nil {
				return n, err
			}
			n += keptAtOnce
		}
		return n, nil
	})
}

// benchDocument is what is written for each stream, in both ways.
var benchDocument = [][2]string{
	{"customer", "530812"}, {"item", "85123A"}, {"items", "12"}, {"total", "184750"}, {"country", "United Kingdom"}, {"status", "open"},
}

// benchCheckpoints are those that a document has, one after the other: that of nothing,
// and then versions from 1, with the event id of each.
func benchCheckpoints() []projector.Checkpoint {
	all := make([]projector.Checkpoint, committedDocuments/manyStreams+2)
	for i := range all[1:] {
		all[i+1] = projector.Checkpoint{Position: projector.Position{Major: uint64(i + 1)}, EventID: uuid.New()}
	}
	return all
}

// commits times work on as many documents at once as go into a call: n says which is the
// first, going on and on through those of all streams.
func (l *lab) commits(ctx context.Context, work func(ctx context.Context, n int) error) (sample, error) {
	return l.rate(ctx, func(ctx context.Context) (int, error) {
		n, most := 0, l.scaled(committedDocuments, keptAtOnce)
		for ; n < most; n += keptAtOnce {
			if err := work(ctx, n); err != nil {
				return n, err
			}
		}
		return n, nil
	})
}

func commitDocuments(ctx context.Context, l *lab) (sample, error) {
	namespace := l.namespace()
	defer func() { _ = l.remove(context.WithoutCancel(ctx), namespace) }() // close removes what is left
	sink, err := redissink.New(l.redis, namespace, "cart")
	if err != nil {
		return sample{}, err
	}
	document := new(projector.Document)
	for _, field := range benchDocument {
		document.SetString(field[0], field[1])
	}
	checkpoints := benchCheckpoints()
	return l.commits(ctx, func(ctx context.Context, n int) error {
		changes := make([]projector.Change, keptAtOnce)
		for i := range changes {
			stream, round := cart((n+i)%manyStreams), (n+i)/manyStreams
			changes[i] = projector.Change{Stream: stream, Key: stream.ID(), From: checkpoints[round], To: checkpoints[round+1], Document: document}
		}
		refused, err := sink.Commit(ctx, 1, changes)
		return errors.Join(append(refused, err)...)
	})
}

func pipelinedHSET(ctx context.Context, l *lab) (sample, error) {
	namespace := l.namespace()
	defer func() { _ = l.remove(context.WithoutCancel(ctx), namespace) }() // close removes what is left
	model := keyspace.ModelName(namespace, "cart")
	// The clock is for the commands, and not for writing what they say.
	keys := make([]string, manyStreams)
	for i := range keys {
		keys[i] = keyspace.Document(model, 1, strconv.Itoa(i))
	}
	var fields [][]any // of documents by how often they were written
	for _, to := range benchCheckpoints()[1:] {
		all := []any{"_position", to.Position.String(), "_event", to.EventID.String()}
		for _, field := range benchDocument {
			all = append(all, field[0], field[1])
		}
		fields = append(fields, all)
	}
	return l.commits(ctx, func(ctx context.Context, n int) error {
		_, err := l.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := n; i < n+keptAtOnce; i++ {
				p.HSet(ctx, keys[i%manyStreams], fields[i/manyStreams]...)
			}
			return nil
		})
		return err
	})
}
