package redissink

import (
	"context"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/projector"
)

// Commit implements [projector.Sink]. On a single Redis a script call carries
// many documents. On a cluster their keys lie in different slots, so each has a
// call of its own, and those are pipelined.
func (s *Sink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	width, atOnce := callChanges, 1
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		width, atOnce = 1, pipelineKeys
	}
	var all []*documents
	var d *documents
	for i := range changes {
		if d == nil || d.full(width) {
			n := min(width, len(changes)-i)
			texts := n * (4 + len(changes[i].Document.Fields())) // about as many as the first has
			d = &documents{alone: n == 1, call: call{first: i, keys: make([]string, 0, n), args: make([]any, 0, texts)}, texts: make([]string, 0, texts)}
			all = append(all, d)
		}
		d.add(s.key(g, changes[i].Key), &changes[i])
	}
	calls := make([]*call, len(all))
	for i, d := range all {
		calls[i] = d.finish()
	}
	return commit(ctx, s.client, commitScript, changes, calls, atOnce)
}

// documents is a call of the script commit that takes more. The names of fields are told
// once for all documents that have the same ones.
type documents struct {
	call
	alone bool // there will be one, which has its names beside its values
	lists []names
	texts []string // what args point to
}

// names are the names of a document's fields, in their order.
type names struct {
	of    *projector.Document
	place string // of the list, from 1
}

// noDocument stands in the place of the list of names.
var noDocument = "0"

// namesLooked is how many lists of names are looked at, the last ones, before another is
// told.
const namesLooked = 4

func (d *documents) add(key string, ch *projector.Change) {
	d.n++
	d.keys = append(d.keys, key)
	toPosition, toEvent := checkpointArgs(ch.To)
	d.addTexts(field(ch.From), toPosition, toEvent)
	if ch.Document == nil {
		d.args = append(d.args, &noDocument)
		return
	}
	fields := ch.Document.Fields()
	if d.alone {
		d.addTexts("-" + strconv.Itoa(len(fields)))
	} else {
		d.args = append(d.args, d.names(ch.Document))
	}
	for i := range fields {
		if d.alone {
			d.args = append(d.args, &fields[i].Name)
		}
		value := fields[i].Value.String()
		d.addTexts(value)
		d.bytes += len(fields[i].Name) + len(value)
	}
}

// names returns the place of the list with the names of a document.
func (d *documents) names(doc *projector.Document) (place *string) {
	same := func(a, b projector.Field) bool { return a.Name == b.Name }
	for i := len(d.lists) - 1; i >= max(0, len(d.lists)-namesLooked); i-- {
		if slices.EqualFunc(d.lists[i].of.Fields(), doc.Fields(), same) {
			return &d.lists[i].place
		}
	}
	d.lists = append(d.lists, names{doc, strconv.Itoa(len(d.lists) + 1)})
	return &d.lists[len(d.lists)-1].place
}

// addTexts adds arguments that are texts. The client takes pointers to them, which fit into
// an interface as they are, where a string has to be moved to the heap.
func (d *documents) addTexts(texts ...string) {
	for _, t := range texts {
		d.texts = append(d.texts, t)
		d.args = append(d.args, &d.texts[len(d.texts)-1])
	}
}

// finish returns the call, in which the lists of names come first.
func (d *documents) finish() *call {
	head := []any{len(d.lists)}
	for _, l := range d.lists {
		fields := l.of.Fields()
		head = append(head, len(fields))
		for i := range fields {
			head = append(head, &fields[i].Name)
		}
	}
	d.args = append(head, d.args...)
	return &d.call
}

// checkpointArgs renders a checkpoint for the script, "" and "" for none.
func checkpointArgs(c projector.Checkpoint) (position, event string) {
	if c.IsZero() {
		return "", ""
	}
	return c.Position.String(), c.EventID.String()
}
