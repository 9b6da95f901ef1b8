package storetest

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// The check of concurrent writers is worth what it refuses.
func TestStreamModel(t *testing.T) {
	a, b := uuid.UUID{1}, uuid.UUID{2}
	one, both := digest(0, a), digest(digest(0, a), b)
	do := func(call, ret int64, op operation, told result) porcupine.Operation {
		return porcupine.Operation{Input: op, Call: call, Output: told, Return: ret}
	}
	appendA := do(1, 2, operation{id: a, expected: eventstore.NoStream}, result{head: 1})
	appendB := do(3, 4, operation{id: b, expected: eventstore.Exact(1)}, result{head: 2})
	deletion := operation{ends: eventstore.Deleted, expected: eventstore.Any}
	deleted := do(3, 4, deletion, result{head: 2})
	tombstoned := do(5, 6, operation{ends: eventstore.Tombstoned, expected: eventstore.Any}, result{head: 3})
	anew := do(5, 6, operation{id: b, expected: eventstore.NoStream}, result{head: 3})
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		"appends, then a read": {[]porcupine.Operation{appendA, appendB, do(5, 6, operation{}, result{head: 2, history: both})}, porcupine.Ok},
		"a read beside an append sees either": {[]porcupine.Operation{appendA, appendB,
			do(3, 6, operation{}, result{head: 1, history: one}), do(3, 6, operation{}, result{head: 2, history: both})}, porcupine.Ok},
		"a stale read":                   {[]porcupine.Operation{appendA, appendB, do(5, 6, operation{}, result{head: 1, history: one})}, porcupine.Illegal},
		"a stale head":                   {[]porcupine.Operation{appendA, appendB, do(5, 6, operation{headOnly: true}, result{head: 1})}, porcupine.Illegal},
		"a read that lost an event":      {[]porcupine.Operation{appendA, appendB, do(5, 6, operation{}, result{head: 2, history: one})}, porcupine.Illegal},
		"a read from the future":         {[]porcupine.Operation{do(0, 0, operation{}, result{head: 1, history: one}), appendA}, porcupine.Illegal},
		"one version given twice":        {[]porcupine.Operation{appendA, do(3, 4, operation{id: b, expected: eventstore.Any}, result{head: 1})}, porcupine.Illegal},
		"a version left out":             {[]porcupine.Operation{appendA, do(3, 4, operation{id: b, expected: eventstore.Any}, result{head: 3})}, porcupine.Illegal},
		"a conflict that is none":        {[]porcupine.Operation{appendA, do(3, 4, operation{id: b, expected: eventstore.Exact(1)}, result{conflict: true, head: 1})}, porcupine.Illegal},
		"a conflict that was overlooked": {[]porcupine.Operation{appendA, do(3, 4, operation{id: b, expected: eventstore.NoStream}, result{head: 2})}, porcupine.Illegal},
		"a conflict with the past":       {[]porcupine.Operation{appendA, appendB, do(5, 6, operation{id: b, expected: eventstore.NoStream}, result{conflict: true, head: 1})}, porcupine.Illegal},
		"a new beginning":                {[]porcupine.Operation{appendA, deleted, anew}, porcupine.Ok},
		"one without a deletion":         {[]porcupine.Operation{appendA, appendB, anew}, porcupine.Illegal},
		"deleted twice":                  {[]porcupine.Operation{appendA, deleted, do(5, 6, deletion, result{head: 2, duplicate: true})}, porcupine.Ok},
		"two ends in a row":              {[]porcupine.Operation{appendA, deleted, do(5, 6, deletion, result{head: 3})}, porcupine.Illegal},
		"a deletion that is not read":    {[]porcupine.Operation{appendA, deleted, do(5, 6, operation{}, result{head: 2, history: both})}, porcupine.Illegal},
		"a conflict with the deleted":    {[]porcupine.Operation{appendA, deleted, do(5, 6, operation{id: b, expected: eventstore.StreamExists}, result{conflict: true, deleted: true, head: 2})}, porcupine.Ok},
		"a conflict that hides it":       {[]porcupine.Operation{appendA, deleted, do(5, 6, operation{id: b, expected: eventstore.StreamExists}, result{conflict: true, head: 2})}, porcupine.Illegal},
		"nothing to delete":              {[]porcupine.Operation{do(0, 0, deletion, result{noStream: true}), appendA}, porcupine.Ok},
		"nothing where there was some":   {[]porcupine.Operation{appendA, do(3, 4, deletion, result{noStream: true})}, porcupine.Illegal},
		"a tombstone":                    {[]porcupine.Operation{appendA, deleted, tombstoned, do(7, 8, operation{id: b, expected: eventstore.Any}, result{tombstoned: true})}, porcupine.Ok},
		"a life after a tombstone":       {[]porcupine.Operation{appendA, deleted, tombstoned, do(7, 8, operation{id: b, expected: eventstore.Any}, result{head: 4})}, porcupine.Illegal},
		"refused before the tombstone":   {[]porcupine.Operation{do(0, 0, operation{id: b, expected: eventstore.Any}, result{tombstoned: true}), appendA, deleted, tombstoned}, porcupine.Illegal},
	} {
		if got := porcupine.CheckOperationsTimeout(streamModel(c.history), c.history, 0); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
