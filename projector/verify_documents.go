package projector

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/projectord/projectord/eventstore"
)

// documents compares documents, stream by stream.
func (v *verification) documents(ctx context.Context) error {
	reader, ok := v.config.Sink.(DocumentReader)
	if !ok {
		return fmt.Errorf("%w: its sink, a %T, cannot be read by documents", ErrNotVerifiable, v.config.Sink)
	}
	v.sink = reader
	if v.config.Progress != nil {
		err := v.each(ctx, func(heads []eventstore.StreamHead) error { v.report.Total += len(heads); return nil })
		if err != nil {
			return err
		}
	}
	return v.each(ctx, func(heads []eventstore.StreamHead) error {
		for len(heads) > 0 {
			n := v.step(len(heads), func(i int) uint64 { return uint64(heads[i].Head) })
			before := v.report.Events
			if err := v.compare(ctx, heads[:n]); err != nil {
				return err
			}
			v.progress()
			v.limit.wait(ctx, max(v.report.Events-before, n))
			heads = heads[n:]
		}
		return ctx.Err()
	})
}

// each calls do with the streams that are looked at, some at a time.
func (v *verification) each(ctx context.Context, do func([]eventstore.StreamHead) error) error {
	return eachBatch(ctx, v.operator.Store, v.config.Projection, func(heads []eventstore.StreamHead) error {
		var some []eventstore.StreamHead
		for _, h := range heads {
			if v.chosen(h.Stream) {
				some = append(some, h)
			}
		}
		return do(some)
	})
}

func (v *verification) compare(ctx context.Context, heads []eventstore.StreamHead) error {
	streams := make([]eventstore.StreamID, len(heads))
	for i, h := range heads {
		streams[i] = h.Stream
		v.looked(h.Stream)
	}
	for range verifyAgain {
		if len(streams) == 0 {
			return nil
		}
		apart, err := v.look(ctx, streams)
		if err != nil {
			return err
		}
		// What is parked does not come to be elsewhere, and is counted already.
		streams = streams[:0]
		for _, s := range apart {
			if _, parked := v.parked[s]; !parked {
				streams = append(streams, s)
			}
		}
		if len(streams) > 0 {
			pause(ctx, nil, verifyWait)
		}
	}
	for _, s := range streams {
		v.apart(s)
	}
	return ctx.Err()
}

// look compares documents, and returns the streams where they are not of one version.
func (v *verification) look(ctx context.Context, streams []eventstore.StreamID) (apart []eventstore.StreamID, err error) {
	keys := make([]string, len(streams))
	for i, s := range streams {
		keys[i] = v.config.Projection.key(s)
	}
	documents, at, err := v.sink.Documents(ctx, v.config.Generation, keys)
	if err != nil {
		return nil, err
	}
	var others []other
	if v.config.With > 0 {
		others, err = v.others(ctx, keys)
	} else {
		others, err = v.refold(ctx, streams)
	}
	if err != nil {
		return nil, err
	}
	var differ []eventstore.StreamID
	for i, s := range streams {
		switch o := others[i]; {
		case o.halted != nil:
			v.halted(o.halted)
		case at[i] != o.at || at[i].IsZero():
			apart = append(apart, s)
		default:
			v.report.Compared++
			if !o.same(documents[i]) {
				differ = append(differ, s)
				v.found(Difference{Stream: s, At: at[i], Document: documents[i], Other: o.document})
			}
		}
	}
	return apart, v.heal(ctx, differ)
}

// heal makes documents anew, where that is wanted. Those that cannot be are counted.
func (v *verification) heal(ctx context.Context, streams []eventstore.StreamID) error {
	if !v.config.Heal || len(streams) == 0 {
		return nil
	}
	err := v.operator.Heal(ctx, v.config.Assignment, streams...)
	v.report.Healed += len(streams)
	if halted := new(HaltedError); errors.As(err, &halted) {
		v.report.Healed -= halted.Count
		for _, why := range halted.First {
			v.halted(why)
		}
		return nil
	}
	return err
}

// other is what the document of a stream is compared with.
type other struct {
	document map[string]string
	values   map[string]Value // what it consists of, where it was folded
	at       Checkpoint
	halted   *StreamError // why there is none
}

// same reports whether a document that a sink gave is the same.
func (o other) same(document map[string]string) bool {
	if o.values == nil || len(document) != len(o.values) {
		return maps.Equal(document, o.document) && (document == nil) == (o.document == nil)
	}
	for name, value := range o.values {
		if text, ok := document[name]; !ok || !value.says(text) {
			return false
		}
	}
	return true
}

// others returns the documents of the other generation.
func (v *verification) others(ctx context.Context, keys []string) ([]other, error) {
	documents, at, err := v.sink.Documents(ctx, v.config.With, keys)
	all := make([]other, len(documents))
	for i := range documents {
		all[i] = other{document: documents[i], at: at[i]}
	}
	return all, err
}

// refold folds streams up to where their documents stand, and is zero for those that
// have none.
func (v *verification) refold(ctx context.Context, streams []eventstore.StreamID) ([]other, error) {
	foldings, err := v.engine.refold(ctx, streams)
	if err != nil {
		return nil, err
	}
	place := make(map[eventstore.StreamID]int, len(streams))
	for i, s := range streams {
		place[s] = i
	}
	all := make([]other, len(streams))
	for _, f := range foldings {
		v.report.Events += f.read
		c := Change{Stream: f.stream}
		if f.halted == nil {
			if err := f.fill(v.config.Projection, &c); err != nil {
				f.halt(v.config.Projection, eventstore.Version(f.to.Position.Major), ErrPoison, err)
			}
		}
		o := &all[place[f.stream]]
		if o.halted = f.halted; f.halted != nil {
			continue
		}
		o.at = f.to
		if c.Document == nil {
			continue // the stream has ended
		}
		o.document, o.values = make(map[string]string), make(map[string]Value)
		for _, field := range c.Document.Fields() {
			o.document[field.Name], o.values[field.Name] = field.Value.String(), field.Value
		}
	}
	return all, nil
}
