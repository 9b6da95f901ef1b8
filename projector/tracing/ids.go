package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// origin returns a context in which a span begins that is part of the trace of a
// correlation, and has an id of its own where that is not zero. Whatever is under way in
// the context is of another trace.
func origin(ctx context.Context, correlation string, own trace.SpanID) context.Context {
	ctx = trace.ContextWithRemoteSpanContext(ctx, traceparent(correlation))
	return context.WithValue(ctx, wanted{}, ids{traceOf(correlation), own})
}

// traceOf returns the trace of a correlation.
func traceOf(correlation string) trace.TraceID {
	if parent := traceparent(correlation); parent.IsValid() {
		return parent.TraceID()
	}
	var id trace.TraceID
	sum := sha256.Sum256([]byte(correlation))
	copy(id[:], sum[:])
	return id
}

// traceparent returns what a correlation names, nothing valid where it is none.
func traceparent(correlation string) trace.SpanContext {
	const length = len("00-") + 32 + len("-") + 16 + len("-00")
	if len(correlation) < length || correlation[2] != '-' {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{"traceparent": correlation}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// spanOf returns the id of the span that appends an event first of all, so that those who
// find the event know which one that was.
func spanOf(event uuid.UUID) (id trace.SpanID) {
	sum := sha256.Sum256(event[:])
	copy(id[:], sum[:])
	return id
}

// wanted is the key of the ids that a span is to have, in its context.
type wanted struct{}

type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

// IDs makes the ids of traces and spans: those that follow from events, and random ones.
// A tracer provider has to have it for its generator of ids, else the spans of a
// correlation are not in one trace. It is safe for concurrent use.
type IDs struct{}

// NewIDs returns the ids of a span that has no parent.
func (IDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	w, _ := ctx.Value(wanted{}).(ids)
	for !w.trace.IsValid() {
		binary.BigEndian.PutUint64(w.trace[:8], rand.Uint64())
		binary.BigEndian.PutUint64(w.trace[8:], rand.Uint64())
	}
	return w.trace, orRandom(w.span)
}

// NewSpanID returns the id of a span of a trace.
func (IDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	w, _ := ctx.Value(wanted{}).(ids)
	return orRandom(w.span)
}

// orRandom returns an id, a random one in place of zero.
func orRandom(id trace.SpanID) trace.SpanID {
	for !id.IsValid() {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
