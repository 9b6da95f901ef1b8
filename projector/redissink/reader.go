package redissink

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// Reader reads the documents of a read model in the generation that is active,
// following the projection's pointer: a promotion or roll-back shows with the
// next read. It is safe for concurrent use.
type Reader struct {
	client     redis.UniversalClient
	pointer    string // key of the pointers
	projection string
	model      string
	// guess is the generation that was active last. A read asks for the
	// pointer and the documents of that generation at once, and again where
	// the pointer turns out to have moved: one round trip nearly always.
	guess atomic.Int64
}

// NewReader returns a reader of the documents that a projection keeps in a
// model. The namespace and the model are those given to [New].
func NewReader(client redis.UniversalClient, namespace, projection, model string) (*Reader, error) {
	name, err := modelName(namespace, model)
	if err != nil {
		return nil, err
	}
	if namespace == "" {
		namespace = keyspace.DefaultNamespace
	}
	r := &Reader{client: client, pointer: keyspace.Projections(namespace), projection: projection, model: name}
	r.guess.Store(1)
	return r, nil
}

// Document returns a document with its values as text, and its checkpoint:
// zero, with no document, where there is none. Where the stream was deleted there is
// a checkpoint and no document. The checkpoint tells how current the document is. It is an error that wraps [generations.ErrNotStarted] if the
// projection has never run in this namespace.
func (r *Reader) Document(ctx context.Context, key string) (map[string]string, projector.Checkpoint, error) {
	documents, checkpoints, err := r.Documents(ctx, []string{key})
	if err != nil {
		return nil, projector.Checkpoint{}, err
	}
	return documents[0], checkpoints[0], nil
}

// Documents is [Reader.Document] for many, all of them of one generation, in
// one round trip. Read a few hundred at a time.
func (r *Reader) Documents(ctx context.Context, keys []string) ([]map[string]string, []projector.Checkpoint, error) {
	for {
		guess := r.guess.Load()
		documents, checkpoints, active, err := r.read(ctx, int(guess), keys)
		if err != nil {
			return nil, nil, fmt.Errorf("redissink: reading %s: %w", r.model, err)
		}
		if active == projector.Generation(guess) {
			return documents, checkpoints, nil
		}
		r.guess.Store(int64(active))
	}
}

func (r *Reader) read(ctx context.Context, generation int, keys []string) ([]map[string]string, []projector.Checkpoint, projector.Generation, error) {
	var pointer *redis.StringCmd
	hashes := make([]*redis.MapStringStringCmd, len(keys))
	// The errors stand in the commands; a missing pointer is one of them.
	err := redisx.Retry(ctx, func() error {
		_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			pointer = p.HGet(ctx, r.pointer, r.projection)
			for i, k := range keys {
				hashes[i] = p.HGetAll(ctx, keyspace.Document(r.model, generation, k))
			}
			return nil
		})
		return err
	})
	if pointer == nil {
		return nil, nil, 0, err // the context had ended before anything was asked
	}
	active, err := generations.Parse(r.projection, pointer)
	if err != nil {
		return nil, nil, 0, redisx.Explain(err)
	}
	documents := make([]map[string]string, len(keys))
	checkpoints := make([]projector.Checkpoint, len(keys))
	for i, h := range hashes {
		fields, err := h.Result()
		if err == nil {
			documents[i], checkpoints[i], err = split(fields)
		}
		if err != nil {
			return nil, nil, 0, fmt.Errorf("key %s: %w", keyspace.Document(r.model, generation, keys[i]), redisx.Explain(err))
		}
	}
	return documents, checkpoints, active, nil
}
