package tracing

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// Store returns a store that does the same and has a span for each append.
func (t *Tracer) Store(s eventstore.Store) eventstore.Store { return &store{s, t.tracer} }

type store struct {
	eventstore.Store
	tracer trace.Tracer
}

// Append implements [eventstore.Appender].
func (s *store) Append(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, events ...eventstore.Event) (eventstore.Appended, error) {
	ctx, span := s.begin(ctx, stream, events)
	defer span.End()
	appended, err := s.Store.Append(ctx, stream, expected, events...)
	finish(span, appended, err)
	return appended, err
}

// AppendMany implements [eventstore.Appender].
func (s *store) AppendMany(ctx context.Context, appends []eventstore.StreamAppend) []eventstore.Outcome {
	spans := make([]trace.Span, len(appends))
	for i, a := range appends {
		_, spans[i] = s.begin(ctx, a.Stream, a.Events)
	}
	outcomes := s.Store.AppendMany(ctx, appends)
	for i, o := range outcomes {
		finish(spans[i], o.Appended, o.Err)
		spans[i].End()
	}
	return outcomes
}

// begin begins the span of an append: in the trace of the first event that has a
// correlation, or in the one that the caller is in.
func (s *store) begin(ctx context.Context, stream eventstore.StreamID, events []eventstore.Event) (context.Context, trace.Span) {
	within := ctx
	for i := range events {
		if c := events[i].Metadata.Correlation; c != "" {
			var own trace.SpanID
			if events[i].ID != uuid.Nil {
				own = spanOf(events[i].ID)
			}
			within = origin(ctx, c, own)
			break
		}
	}
	var links []trace.Link
	if caller := trace.SpanContextFromContext(ctx); within != ctx && caller.IsValid() {
		links = []trace.Link{{SpanContext: caller}}
	}
	_, span := s.tracer.Start(within, "append "+stream.Category(), trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(links...),
		trace.WithAttributes(keyCategory.String(stream.Category()), keyEvents.Int(len(events))))
	return trace.ContextWithSpan(ctx, span), span
}

// finish says what became of an append.
func finish(span trace.Span, a eventstore.Appended, err error) {
	if err != nil {
		span.SetStatus(codes.Error, reason(err))
		return
	}
	span.SetAttributes(keyFirst.Int64(int64(a.First)), keyLast.Int64(int64(a.Last)))
	if a.Duplicate {
		span.SetAttributes(keyDuplicate.Bool(true))
	}
}

// reasons are what spans say of errors. Their texts may have more in them than whoever
// reads traces may know.
var reasons = []struct {
	err  error
	text string
}{
	{eventstore.ErrInvalidEvent, "invalid event"},
	{eventstore.ErrInvalidStream, "invalid stream"},
	{eventstore.ErrTombstoned, "tombstoned"},
	{eventstore.ErrOutcomeUnknown, "outcome unknown"},
	{eventstore.ErrNotReplicated, "not replicated"},
	{eventstore.ErrHole, "hole"},
	{eventstore.ErrTruncated, "truncated"},
	{projector.ErrRegressed, "regressed"},
	{projector.ErrForked, "forked"},
	{projector.ErrPoison, "poison"},
	{context.Canceled, "cancelled"},
	{context.DeadlineExceeded, "deadline exceeded"},
}

func reason(err error) string {
	if errors.As(err, new(*eventstore.ConflictError)) {
		return "conflict"
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return "failed"
}
