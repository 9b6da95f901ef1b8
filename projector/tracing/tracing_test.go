package tracing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// recorder is a process that makes spans.
type recorder struct {
	*Tracer
	spans    *tracetest.InMemoryExporter
	provider *sdktrace.TracerProvider
}

func record(options ...sdktrace.TracerProviderOption) *recorder {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(append([]sdktrace.TracerProviderOption{sdktrace.WithIDGenerator(IDs{}), sdktrace.WithSyncer(spans)}, options...)...)
	return &recorder{New(provider), spans, provider}
}

// named returns the span of a name, which has to be there once.
func (r *recorder) named(t *testing.T, name string) tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	var all []string
	for _, s := range r.spans.GetSpans() {
		all = append(all, s.Name)
		if s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the spans are %v; want one %s", all, name)
	}
	return found[0]
}

// told returns the attributes of a span as text.
func told(s tracetest.SpanStub) map[string]string {
	all := make(map[string]string)
	for _, a := range s.Attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// answering is a store that answers appends.
type answering struct {
	eventstore.Store
	appended eventstore.Appended
	err      error
	within   trace.SpanContext // of the last append
}

func (s *answering) Append(ctx context.Context, _ eventstore.StreamID, _ eventstore.ExpectedVersion, _ ...eventstore.Event) (eventstore.Appended, error) {
	s.within = trace.SpanContextFromContext(ctx)
	return s.appended, s.err
}

func (s *answering) AppendMany(_ context.Context, appends []eventstore.StreamAppend) []eventstore.Outcome {
	return make([]eventstore.Outcome, len(appends))
}

var (
	cart  = eventstore.MustStreamID("cart", "secret-id")
	carts = projector.Assignment{Projection: projector.NewDelta("carts", projector.DeltaConfig{Categories: []string{"cart"}, Events: eventstore.NewRegistry()}), Generation: 2}
)

// came returns an event that came from something.
func came(correlation string) eventstore.Event {
	return eventstore.Event{ID: uuid.Must(uuid.NewV7()), Type: "added", SchemaVersion: 1, Metadata: eventstore.Metadata{Correlation: correlation}, Data: []byte("secret payload")}
}

// advance returns what a worker did with an event, a second for each stage.
func advance(e eventstore.Event) projector.Advance {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	stage := func(n int) projector.Period {
		return projector.Period{Begin: at.Add(time.Duration(n) * time.Second), End: at.Add(time.Duration(n+1) * time.Second)}
	}
	return projector.Advance{
		Assignment: carts, Stream: cart, Events: 3, To: 9, Committed: true,
		Causes: []projector.Cause{{Correlation: e.Metadata.Correlation, Event: e.ID, Version: 7, Events: 2}},
		Claim:  stage(0), Load: stage(1), Fold: stage(2), Commit: stage(3),
	}
}

// What two processes do with an event is one trace, without anything that goes from one to
// the other; the second knows the span of the first.
func TestOneTrace(t *testing.T) {
	for _, correlation := range []string{"order-7", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
		t.Run(correlation, func(t *testing.T) {
			appending, working := record(), record()
			event := came(correlation)
			inner := &answering{appended: eventstore.Appended{First: 7, Last: 8}}
			if _, err := appending.Store(inner).Append(t.Context(), cart, eventstore.Any, event, came(correlation)); err != nil {
				t.Fatal(err)
			}
			working.Follow(advance(event))

			appended, project := appending.named(t, "append cart"), working.named(t, "project carts")
			if !inner.within.Equal(appended.SpanContext) {
				t.Errorf("the store is called within %v, the span is %v", inner.within, appended.SpanContext)
			}
			if len(project.Links) != 1 || project.Links[0].SpanContext.SpanID() != appended.SpanContext.SpanID() || project.Links[0].SpanContext.TraceID() != appended.SpanContext.TraceID() {
				t.Errorf("the links are %v; the append was %v", project.Links, appended.SpanContext)
			}
			begin := project.StartTime
			for _, name := range []string{"claim", "load", "fold", "commit"} {
				stage := working.named(t, name)
				if stage.SpanContext.TraceID() != appended.SpanContext.TraceID() || stage.Parent.SpanID() != project.SpanContext.SpanID() {
					t.Errorf("%s is in trace %s below %s", name, stage.SpanContext.TraceID(), stage.Parent.SpanID())
				}
				if !stage.StartTime.Equal(begin) || stage.EndTime.Sub(stage.StartTime) != time.Second {
					t.Errorf("%s took from %s to %s", name, stage.StartTime, stage.EndTime)
				}
				begin = stage.EndTime
			}
			if !project.EndTime.Equal(begin) || project.SpanContext.TraceID() != appended.SpanContext.TraceID() {
				t.Errorf("project ends at %s in trace %s", project.EndTime, project.SpanContext.TraceID())
			}
			parent := traceparent(correlation)
			for _, s := range []tracetest.SpanStub{appended, project} {
				if s.Parent.SpanID() != parent.SpanID() || parent.IsValid() && s.SpanContext.TraceID() != parent.TraceID() {
					t.Errorf("%s is below %v in trace %s; want %v", s.Name, s.Parent.SpanID(), s.SpanContext.TraceID(), parent)
				}
			}
		})
	}
}

// Others are in other traces.
func TestOtherTraces(t *testing.T) {
	r := record()
	r.Follow(advance(came("order-7")))
	r.Follow(advance(came("order-8")))
	r.Observe(projector.Batch{Assignment: carts, Streams: 2, Events: 6, Fold: time.Second})
	traces := make(map[trace.TraceID]bool)
	spans := make(map[trace.SpanID]bool)
	for _, s := range r.spans.GetSpans() {
		traces[s.SpanContext.TraceID()], spans[s.SpanContext.SpanID()] = true, true
	}
	if len(traces) != 3 || len(spans) != 11 {
		t.Errorf("there are %d traces of %d spans; want 3 of 11", len(traces), len(spans))
	}
}

// An append without a correlation is part of what it is called in.
func TestAppendWithin(t *testing.T) {
	r := record()
	ctx, caller := r.provider.Tracer("test").Start(t.Context(), "request")
	store := r.Store(new(answering))
	if _, err := store.Append(ctx, cart, eventstore.Any, came("")); err != nil {
		t.Fatal(err)
	}
	if s := r.named(t, "append cart"); s.Parent.SpanID() != caller.SpanContext().SpanID() {
		t.Errorf("it is below %v", s.Parent)
	}
	r.spans.Reset()
	if _, err := store.Append(ctx, cart, eventstore.Any, came("order-7")); err != nil {
		t.Fatal(err)
	}
	if s := r.named(t, "append cart"); len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != caller.SpanContext().SpanID() || s.SpanContext.TraceID() == caller.SpanContext().TraceID() {
		t.Errorf("it is in trace %s with the links %v", s.SpanContext.TraceID(), s.Links)
	}
}

func TestAppendMany(t *testing.T) {
	r := record()
	r.Store(new(answering)).AppendMany(t.Context(), []eventstore.StreamAppend{
		{Stream: cart, Events: []eventstore.Event{came("order-7")}},
		{Stream: eventstore.MustStreamID("order", "1"), Events: []eventstore.Event{came("order-8")}},
	})
	if a, b := r.named(t, "append cart"), r.named(t, "append order"); a.SpanContext.TraceID() == b.SpanContext.TraceID() {
		t.Error("what came from two things is in one trace")
	}
}

// Spans say what happened, and nothing that is in events, names or errors.
func TestAttributes(t *testing.T) {
	r := record()
	store := r.Store(&answering{appended: eventstore.Appended{First: 7, Last: 7, Duplicate: true}})
	if _, err := store.Append(t.Context(), cart, eventstore.Any, came("order-7")); err != nil {
		t.Fatal(err)
	}
	got := told(r.named(t, "append cart"))
	for key, want := range map[string]string{"projectord.stream.category": "cart", "projectord.events": "1", "projectord.version.first": "7", "projectord.version.last": "7", "projectord.duplicate": "true"} {
		if got[key] != want {
			t.Errorf("append: %s is %q, want %q", key, got[key], want)
		}
	}
	for text, err := range map[string]error{
		"conflict":        fmt.Errorf("secret: %w", &eventstore.ConflictError{Stream: cart}),
		"outcome unknown": fmt.Errorf("secret: %w", eventstore.ErrOutcomeUnknown),
		"failed":          errors.New("secret"),
	} {
		r := record()
		if _, got := r.Store(&answering{err: err}).Append(t.Context(), cart, eventstore.Any, came("x")); got != err {
			t.Errorf("the error is %v, want %v", got, err)
		}
		if s := r.named(t, "append cart").Status; s.Code != codes.Error || s.Description != text {
			t.Errorf("%v: the status is %+v, want %q", err, s, text)
		}
	}
	a := advance(came("order-8"))
	a.Committed, a.Err = false, &projector.StreamError{Projection: "carts", Stream: cart, Version: 8, Reason: projector.ErrForked, Err: errors.New("secret")}
	r.Follow(a)
	s := r.named(t, "project carts")
	got = told(s)
	for key, want := range map[string]string{
		"projectord.projection": "carts", "projectord.generation": "2", "projectord.stream.category": "cart",
		"projectord.version.first": "7", "projectord.version.last": "9", "projectord.events": "2", "projectord.committed": "false",
	} {
		if got[key] != want {
			t.Errorf("project: %s is %q, want %q", key, got[key], want)
		}
	}
	if s.Status.Code != codes.Error || s.Status.Description != "forked" {
		t.Errorf("the status is %+v", s.Status)
	}
	for _, s := range r.spans.GetSpans() {
		if text := fmt.Sprint(s.Name, told(s), s.Status, s.Events); strings.Contains(text, "secret") {
			t.Errorf("a span tells too much: %s", text)
		}
	}
}

// Every process samples the same correlations; what a traceparent says counts before that.
func TestSampling(t *testing.T) {
	half := sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.5)))
	sampled := 0
	for i := range 200 {
		appending, working := record(half), record(half)
		event := came(fmt.Sprint("order-", i))
		if _, err := appending.Store(new(answering)).Append(t.Context(), cart, eventstore.Any, event); err != nil {
			t.Fatal(err)
		}
		working.Follow(advance(event))
		a, b := len(appending.spans.GetSpans()), len(working.spans.GetSpans())
		if a == 1 && b == 5 {
			sampled++
		} else if a != 0 || b != 0 {
			t.Fatalf("%d spans of the append, %d of the worker", a, b)
		}
	}
	if sampled < 60 || sampled > 140 {
		t.Errorf("%d of 200 were sampled", sampled)
	}
	for flags, want := range map[string]int{"01": 5, "00": 0} {
		r := record(half)
		r.Follow(advance(came("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-" + flags)))
		if n := len(r.spans.GetSpans()); n != want {
			t.Errorf("flags %s: %d spans, want %d", flags, n, want)
		}
	}
}

func TestTraceparent(t *testing.T) {
	for correlation, want := range map[string]bool{
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": true,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01": false,
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736":                     false,
		"order-7":                                                 false, "": false,
	} {
		if got := traceparent(correlation).IsValid(); got != want {
			t.Errorf("%q is a traceparent: %t, want %t", correlation, got, want)
		}
		if !traceOf(correlation).IsValid() {
			t.Errorf("%q has no trace", correlation)
		}
	}
}
