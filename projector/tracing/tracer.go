package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/projectord/projectord/projector"
)

// Tracer makes the spans of a process. It is a [projector.Follower] and a
// [projector.Observer] for any number of workers, wraps stores, and is safe for concurrent
// use. It does not block. Make it with [New].
type Tracer struct{ tracer trace.Tracer }

// Tracer is what it says it is.
var (
	_ projector.Follower = (*Tracer)(nil)
	_ projector.Observer = (*Tracer)(nil)
)

// New returns what makes spans by a provider, whose ids [IDs] has to make. The provider
// belongs to the caller.
func New(provider trace.TracerProvider) *Tracer {
	return &Tracer{provider.Tracer("github.com/projectord/projectord/projector/tracing")}
}

// The attributes.
const (
	keyProjection = attribute.Key("projectord.projection")
	keyGeneration = attribute.Key("projectord.generation")
	keyCategory   = attribute.Key("projectord.stream.category")
	keyEvents     = attribute.Key("projectord.events")
	keyStreams    = attribute.Key("projectord.streams")
	keyCommitted  = attribute.Key("projectord.committed")
	keyFirst      = attribute.Key("projectord.version.first")
	keyLast       = attribute.Key("projectord.version.last")
	keyDuplicate  = attribute.Key("projectord.duplicate")
)

func of(a projector.Assignment) []attribute.KeyValue {
	return []attribute.KeyValue{keyProjection.String(a.Projection.Name()), keyGeneration.Int(int(a.Generation))}
}

// Follow implements [projector.Follower]: for each cause of the events, a span of what the
// worker did with the stream, and one below it for each stage.
func (t *Tracer) Follow(a projector.Advance) {
	for _, c := range a.Causes {
		t.follow(a, c)
	}
}

func (t *Tracer) follow(a projector.Advance, c projector.Cause) {
	stages := [...]struct {
		name string
		projector.Period
	}{{"claim", a.Claim}, {"load", a.Load}, {"fold", a.Fold}, {"commit", a.Commit}}
	var whole projector.Period
	for _, s := range stages {
		if s.IsZero() {
			continue
		}
		if whole.IsZero() {
			whole.Begin = s.Begin
		}
		whole.End = s.End
	}
	ctx := origin(context.Background(), c.Correlation, trace.SpanID{})
	appended := trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceOf(c.Correlation), SpanID: spanOf(c.Event)})}
	_, span := t.tracer.Start(ctx, "project "+a.Projection.Name(), trace.WithTimestamp(whole.Begin), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(appended))
	defer span.End(trace.WithTimestamp(whole.End))
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(of(a.Assignment)...)
	span.SetAttributes(keyCategory.String(a.Stream.Category()), keyFirst.Int64(int64(c.Version)), keyLast.Int64(int64(a.To)), keyEvents.Int(c.Events), keyCommitted.Bool(a.Committed))
	if a.Err != nil {
		span.SetStatus(codes.Error, reason(a.Err))
	}
	below := trace.ContextWithSpan(context.Background(), span)
	for _, s := range stages {
		if !s.IsZero() {
			_, stage := t.tracer.Start(below, s.name, trace.WithTimestamp(s.Begin), trace.WithAttributes(of(a.Assignment)...))
			stage.End(trace.WithTimestamp(s.End))
		}
	}
}

// Observe implements [projector.Observer]: a span for each batch, in a trace of its own.
func (t *Tracer) Observe(o projector.Observation) {
	b, ok := o.(projector.Batch)
	if !ok {
		return
	}
	ended := time.Now()
	_, span := t.tracer.Start(context.Background(), "batch "+b.Projection.Name(), trace.WithNewRoot(), trace.WithTimestamp(ended.Add(-b.Load-b.Fold-b.Commit)))
	defer span.End(trace.WithTimestamp(ended))
	if span.IsRecording() {
		span.SetAttributes(of(b.Assignment)...)
		span.SetAttributes(keyStreams.Int(b.Streams), keyEvents.Int(b.Events), attribute.Float64("projectord.load.seconds", b.Load.Seconds()),
			attribute.Float64("projectord.fold.seconds", b.Fold.Seconds()), attribute.Float64("projectord.commit.seconds", b.Commit.Seconds()))
	}
}
