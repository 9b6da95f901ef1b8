package projector

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/projectord/projectord/eventstore"
)

// VerifyConfig says what [Operator.Verify] compares.
type VerifyConfig struct {
	// Assignment is the generation that is looked at.
	Assignment
	// With is the generation it is compared with; 0 for what the events come to
	// when they are folded now.
	With Generation
	// Share is how much of the streams is looked at, above 0 and up to 1; the same
	// ones each time. Defaults to all.
	Share float64
	// Heal has documents that differ from what their events come to made anew. It is
	// for comparisons with a fold.
	Heal bool
	// Found, where not nil, is called with every difference.
	Found func(Difference)
	// Progress, where not nil, is called after every batch of streams.
	Progress func(VerifyReport)
}

// Difference is a stream whose documents differ though they are of the same version.
type Difference struct {
	Stream eventstore.StreamID
	// At is where both stand.
	At Checkpoint
	// Document is that of the generation looked at, Other the one it is compared
	// with; nil where there is none.
	Document, Other map[string]string
}

// VerifyReport says what was compared.
type VerifyReport struct {
	// Streams were looked at, Compared of them had documents of the same version.
	Streams, Compared int
	// Different is how many differed, Healed how many of those were made anew.
	Different, Healed int
	// Apart is how many were not of the same version, or had no document, even when
	// they were looked at again and again for some seconds.
	Apart int
}

const (
	// verifyAgain is how often streams are looked at whose documents are not of one
	// version, because workers are at them, and verifyWait how long after each look.
	verifyAgain = 20
	verifyWait  = 100 * time.Millisecond
)

// Verify compares the documents of a generation with those of another one, or with
// what a fold makes of the events, stream by stream and at equal versions. It can be
// done while workers work. The sink is a [DocumentReader]. What it finds is reported,
// not an error.
func (o Operator) Verify(ctx context.Context, config VerifyConfig) (VerifyReport, error) {
	config.Assignment = config.withDefaults()
	v := &verification{config: config, operator: o, engine: o.engine(config.Assignment)}
	if err := v.engine.skips.load(ctx); err != nil {
		return VerifyReport{}, err
	}
	reader, ok := config.Sink.(DocumentReader)
	if !ok {
		return VerifyReport{}, fmt.Errorf("projection %s: its sink, a %T, cannot be read by documents", config.Projection.Name(), config.Sink)
	}
	v.sink = reader
	if config.Share == 0 {
		v.config.Share = 1
	}
	if config.Heal && config.With > 0 {
		return VerifyReport{}, fmt.Errorf("projection %s: generation %d is compared with another, so there is nothing to heal it by", config.Projection.Name(), config.Generation)
	}
	err := eachBatch(ctx, o.Store, config.Projection, func(heads []eventstore.StreamHead) error {
		var some []eventstore.StreamID
		for _, h := range heads {
			if v.chosen(h.Stream) {
				some = append(some, h.Stream)
			}
		}
		if err := v.compare(ctx, some); err != nil {
			return err
		}
		if config.Progress != nil {
			config.Progress(v.report)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("verifying projection %s: %w", config.Projection.Name(), err)
	}
	return v.report, err
}

type verification struct {
	config   VerifyConfig
	operator Operator
	engine   engine
	sink     DocumentReader
	report   VerifyReport
}

// chosen reports whether a stream is among the share that is looked at.
func (v *verification) chosen(s eventstore.StreamID) bool {
	return v.config.Share >= 1 || float64(xxhash.Sum64String(s.String())>>11)/(1<<53) < v.config.Share
}

func (v *verification) compare(ctx context.Context, streams []eventstore.StreamID) error {
	v.report.Streams += len(streams)
	for range verifyAgain {
		if len(streams) == 0 {
			return nil
		}
		apart, err := v.look(ctx, streams)
		if err != nil {
			return err
		}
		if streams = apart; len(apart) > 0 {
			pause(ctx, nil, verifyWait)
		}
	}
	v.report.Apart += len(streams)
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
	var others []map[string]string
	var otherAt []Checkpoint
	if v.config.With > 0 {
		others, otherAt, err = v.sink.Documents(ctx, v.config.With, keys)
	} else {
		others, otherAt, err = v.refold(ctx, streams)
	}
	if err != nil {
		return nil, err
	}
	var differ []eventstore.StreamID
	for i, s := range streams {
		if at[i] != otherAt[i] || at[i].IsZero() {
			apart = append(apart, s)
			continue
		}
		v.report.Compared++
		if !maps.Equal(documents[i], others[i]) || (documents[i] == nil) != (others[i] == nil) {
			v.report.Different++
			differ = append(differ, s)
			if v.config.Found != nil {
				v.config.Found(Difference{Stream: s, At: at[i], Document: documents[i], Other: others[i]})
			}
		}
	}
	if v.config.Heal && len(differ) > 0 {
		if err := v.operator.Heal(ctx, v.config.Assignment, differ...); err != nil {
			return nil, err
		}
		v.report.Healed += len(differ)
	}
	return apart, nil
}

// refold folds streams up to where their documents stand. A stream that cannot be
// folded up to there has another checkpoint.
func (v *verification) refold(ctx context.Context, streams []eventstore.StreamID) ([]map[string]string, []Checkpoint, error) {
	foldings, err := v.engine.refold(ctx, streams)
	if err != nil {
		return nil, nil, err
	}
	at := make(map[eventstore.StreamID]int, len(streams))
	for i, s := range streams {
		at[s] = i
	}
	documents, reached := make([]map[string]string, len(streams)), make([]Checkpoint, len(streams))
	for _, f := range foldings {
		c := Change{Stream: f.stream}
		if f.halted != nil || v.config.Projection.fill(f.state, &c) != nil {
			continue
		}
		document := make(map[string]string)
		for _, field := range c.Document.Fields() {
			document[field.Name] = field.Value.String()
		}
		documents[at[f.stream]], reached[at[f.stream]] = document, f.to
	}
	return documents, reached, nil
}
