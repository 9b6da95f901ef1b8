package redissink

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

const (
	positionField = "_position"
	eventField    = "_event"
	deletedField  = "_deleted" // is there where there is no document any more
)

//go:embed lua/commit.lua
var commitSource string

var commitScript = redis.NewScript(commitSource)

// Sink is a [projector.Sink] that keeps one read model in Redis hashes. It is
// safe for concurrent use and needs no closing; the client belongs to the
// caller.
type Sink struct {
	client redis.UniversalClient
	model  string
}

// What it is besides a [projector.Sink].
var (
	_ projector.DocumentReader  = (*Sink)(nil)
	_ projector.DocumentDropper = (*Sink)(nil)
)

// New returns the sink of a read model, for example "cart:current". A model's
// name is 1 to 200 bytes of UTF-8 without braces or at signs, and does not end
// in a colon. The namespace is the one the projection's streams are in; empty
// is the default one. The client is a *redis.Client or a *redis.ClusterClient.
func New(client redis.UniversalClient, namespace, model string) (*Sink, error) {
	name, err := modelName(namespace, model)
	if err != nil {
		return nil, err
	}
	return &Sink{client: client, model: name}, nil
}

func modelName(namespace, model string) (string, error) {
	if namespace == "" {
		namespace = keyspace.DefaultNamespace
	}
	if err := keyspace.CheckNamespace(namespace); err != nil {
		return "", fmt.Errorf("redissink: %w", err)
	}
	if model == "" || len(model) > 200 || !utf8.ValidString(model) || strings.ContainsAny(model, "{}@") || strings.HasSuffix(model, ":") {
		return "", fmt.Errorf("redissink: the model name %.80q is empty, too long, not UTF-8, has a brace or an at sign, or ends in a colon", model)
	}
	return keyspace.ModelName(namespace, model), nil
}

func (s *Sink) key(g projector.Generation, key string) string {
	return documentKey(s.model, g, key)
}

// documentKey returns the key of a document, or row, of a model.
func documentKey(model string, g projector.Generation, key string) string {
	return keyspace.Document(model, int(g), key)
}

// Takes implements [projector.Sink].
func (s *Sink) Takes() projector.Form { return projector.Documents }

// Begin implements [projector.Sink]. Hashes need no preparation; it refuses a
// server that would lose them.
func (s *Sink) Begin(ctx context.Context, g projector.Generation) error {
	if g < 1 {
		return fmt.Errorf("redissink: generation %d; they start at 1", g)
	}
	if err := redisx.EachMaster(ctx, s.client, redisx.CheckServer); err != nil {
		return fmt.Errorf("redissink: read model %s: %w", s.model, err)
	}
	return nil
}

// Checkpoints implements [projector.Sink].
func (s *Sink) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	var failed []error
	checkpoints := make([]projector.Checkpoint, len(keys))
	for start := 0; start < len(keys); start += pipelineKeys {
		part := keys[start:min(start+pipelineKeys, len(keys))]
		err := redisx.Retry(ctx, func() error {
			pipe := s.client.Pipeline()
			replies := make([]*redis.SliceCmd, len(part))
			for i, k := range part {
				replies[i] = pipe.HMGet(ctx, s.key(g, k), positionField, eventField)
			}
			pipe.Exec(ctx)
			for i, reply := range replies {
				values, err := reply.Result()
				if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
					return fmt.Errorf("key %s: %w", s.key(g, part[i]), err)
				}
				if err == nil {
					checkpoints[start+i], err = parseCheckpoint(values[0], values[1])
				}
				if err != nil {
					if failed == nil {
						failed = make([]error, len(keys))
					}
					failed[start+i] = fmt.Errorf("redissink: reading the checkpoint in key %s: %w", s.key(g, part[i]), redisx.Explain(err))
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("redissink: reading checkpoints of %s: %w", s.model, redisx.Explain(err))
		}
	}
	return checkpoints, failed, nil
}

// parseCheckpoint reads the two checkpoint fields; both are nil where there is
// none.
func parseCheckpoint(position, event any) (projector.Checkpoint, error) {
	if position == nil && event == nil {
		return projector.Checkpoint{}, nil
	}
	p, _ := position.(string)
	e, _ := event.(string)
	at, err := projector.ParsePosition(p)
	id, err2 := uuid.Parse(e)
	if err := errors.Join(err, err2); err != nil {
		return projector.Checkpoint{}, fmt.Errorf("fields %s and %s are damaged: %w", positionField, eventField, err)
	}
	return projector.Checkpoint{Position: at, EventID: id}, nil
}

// Document reads a document of a generation, with every value as text, and its
// checkpoint; nil and the zero Checkpoint where there is none, nil and a checkpoint
// where its stream was deleted.
func (s *Sink) Document(ctx context.Context, g projector.Generation, key string) (map[string]string, projector.Checkpoint, error) {
	documents, checkpoints, err := s.Documents(ctx, g, []string{key})
	if err != nil {
		return nil, projector.Checkpoint{}, err
	}
	return documents[0], checkpoints[0], nil
}

// Documents implements [projector.DocumentReader].
func (s *Sink) Documents(ctx context.Context, g projector.Generation, keys []string) ([]map[string]string, []projector.Checkpoint, error) {
	documents, checkpoints := make([]map[string]string, len(keys)), make([]projector.Checkpoint, len(keys))
	replies := make([]*redis.MapStringStringCmd, len(keys))
	err := redisx.Retry(ctx, func() error {
		pipe := s.client.Pipeline()
		for i, k := range keys {
			replies[i] = pipe.HGetAll(ctx, s.key(g, k))
		}
		_, err := pipe.Exec(ctx)
		if redisx.IsReply(err) {
			return nil // each has its own
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("redissink: reading %d documents of %s: %w", len(keys), s.model, redisx.Explain(err))
	}
	for i, reply := range replies {
		fields, err := reply.Result()
		if err == nil {
			documents[i], checkpoints[i], err = split(fields)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("redissink: reading key %s: %w", s.key(g, keys[i]), redisx.Explain(err))
		}
	}
	return documents, checkpoints, nil
}

// split parts a hash into document and checkpoint. A hash without a checkpoint
// is no document, and one that says it is deleted has none.
func split(fields map[string]string) (map[string]string, projector.Checkpoint, error) {
	position, ok := fields[positionField]
	if !ok {
		return nil, projector.Checkpoint{}, nil
	}
	at, err := parseCheckpoint(position, fields[eventField])
	if _, deleted := fields[deletedField]; deleted {
		return nil, at, err
	}
	delete(fields, positionField)
	delete(fields, eventField)
	return fields, at, err
}
