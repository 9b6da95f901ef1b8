// Package tracing follows events by OpenTelemetry, from where they are appended to where
// they show: the spans append, claim, load, fold and commit.
//
//	provider := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(tracing.IDs{}), ...)
//	t := tracing.New(provider)
//	store := t.Store(store)
//	w, err := projector.NewWorker(projector.WorkerConfig{Store: store, Follower: t, Observer: t, ...})
//
// All spans of one correlation ([eventstore.Metadata]) are in one trace, whichever
// processes they come from, and nothing is sent along for that: the id of the trace is
// made of the correlation. Where this is a W3C traceparent, the trace and the parent are
// those it names, and whether it was sampled decides here too; any other text is hashed,
// and then every process samples by the same id. Events without a correlation are followed by
// nobody, except that an append is part of the trace it is called in.
//
// Attributes are names of projections, categories, versions and numbers. Ids of entities,
// payloads and texts of errors are in none.
package tracing
