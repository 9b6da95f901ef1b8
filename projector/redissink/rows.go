package redissink

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

// noteModel notes that this model has rows, for others whose names its own begins with.
func (s *Delta) noteModel(ctx context.Context) error {
	err := redisx.Retry(ctx, func() error { return s.client.SAdd(ctx, keyspace.RowModels, s.model).Err() })
	if err != nil {
		return fmt.Errorf("redissink: noting the read model %s: key %s: %w", s.model, keyspace.RowModels, redisx.Explain(err))
	}
	return nil
}

// eachRows walks the keys of the server, those of a type, or of all where that is empty,
// for the rows of a generation, some at a time.
//
// A row of generation 1 begins with the model's name and a colon, and so may what other
// models have: cart:current:7 is a document of cart:current, or a row of it, or the row
// current:7 of cart. It is none of cart where it has the checkpoint of a document, or
// begins with the name of another model that has rows.
func (s *Delta) eachRows(ctx context.Context, g projector.Generation, kind string, visit func(names []string) error) error {
	var others []string
	if g == 1 {
		var all []string
		err := redisx.Retry(ctx, func() (err error) {
			all, err = s.client.SMembers(ctx, keyspace.RowModels).Result()
			return err
		})
		if err != nil {
			return fmt.Errorf("key %s: %w", keyspace.RowModels, err)
		}
		for _, model := range all {
			if strings.HasPrefix(model, s.model+":") {
				others = append(others, model+":", model+"@")
			}
		}
	}
	pattern := literal.Replace(s.rowKey(g, "")) + "*"
	for cursor := uint64(0); ; {
		var names []string
		err := redisx.Retry(ctx, func() (err error) {
			var next uint64
			names, next, err = s.client.ScanType(ctx, cursor, pattern, dropKeys, kind).Result()
			if err == nil {
				cursor = next
			}
			return err
		})
		if err == nil && g == 1 {
			names, err = s.own(ctx, names, others)
		}
		if err == nil {
			err = visit(names)
		}
		if err != nil || cursor == 0 {
			return err
		}
	}
}

// own returns those of the names that are not another model's.
func (s *Delta) own(ctx context.Context, names, others []string) ([]string, error) {
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(others, func(other string) bool { return strings.HasPrefix(name, other) })
	})
	if len(names) == 0 {
		return nil, nil
	}
	documents := make(map[string]*redis.BoolCmd)
	err := redisx.Retry(ctx, func() error {
		pipe := s.client.Pipeline()
		for _, name := range names {
			documents[name] = pipe.HExists(ctx, name, positionField)
		}
		pipe.Exec(ctx)
		for name, has := range documents {
			if err := has.Err(); err != nil && !ofKey(err) { // of another type: who reads it sees that
				return fmt.Errorf("key %s: %w", name, err)
			}
		}
		return nil
	})
	return slices.DeleteFunc(names, func(name string) bool { return documents[name].Val() }), err
}
