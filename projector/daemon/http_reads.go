package daemon

import (
	"slices"
	"strings"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

func getStatus(q *request) (any, error) {
	return (&stating{space: q.space, paces: make(map[string]*projector.Pace)}).look(q.Context())
}

func getStreams(q *request) (any, error) {
	limit, after, ended := q.limit(), q.text("after"), q.flag("ended")
	if q.wrong != nil {
		return nil, q.wrong
	}
	var category []string
	if name := q.text("category"); name != "" {
		category = []string{name}
	}
	v, err := q.streams(q.Context(), category, ended)
	if err != nil {
		return nil, err
	}
	from, found := slices.BinarySearchFunc(v.Streams, after, func(s streamView, name string) int { return strings.Compare(s.Stream, name) })
	if found {
		from++
	}
	if v.Streams = v.Streams[from:]; len(v.Streams) > limit {
		v.Streams = v.Streams[:limit]
		v.Next = v.Streams[limit-1].Stream
	}
	return v, nil
}

func getStream(q *request) (any, error) {
	in := eventstore.Range{From: eventstore.Version(q.number("from", 0, 1, mostVersions)), Limit: q.limit(), Backward: q.flag("backward")}
	if q.wrong != nil {
		return nil, q.wrong
	}
	return q.events(q.Context(), q.PathValue("stream"), in)
}

func getProjections(q *request) (any, error) { return q.projections(q.Context()) }

func getProjection(q *request) (any, error) {
	return q.projection(q.Context(), q.PathValue("name"))
}

func getDocument(q *request) (any, error) {
	generation := q.generation()
	if q.wrong != nil {
		return nil, q.wrong
	}
	return q.document(q.Context(), q.PathValue("name"), q.PathValue("id"), generation)
}

func getWait(q *request) (any, error) {
	stream, version := q.text("stream"), q.number("version", 0, 1, mostVersions)
	timeout, generation := q.timeout(q.text("timeout")), q.generation()
	if version == 0 {
		q.mistake("version is missing: it is that of the last event to wait for")
	}
	if q.wrong != nil {
		return nil, q.wrong
	}
	return q.wait(q.Context(), q.PathValue("name"), stream, version, generation, timeout)
}

func getParked(q *request) (any, error) {
	limit := q.limit()
	if q.wrong != nil {
		return nil, q.wrong
	}
	var projection []string
	if name := q.text("projection"); name != "" {
		projection = []string{name}
	}
	return q.parked(q.Context(), projection, limit)
}

func getParkedStream(q *request) (any, error) {
	generation := q.generation()
	if q.wrong != nil {
		return nil, q.wrong
	}
	return q.whyParked(q.Context(), q.PathValue("projection"), q.PathValue("stream"), generation)
}

func getWorkers(q *request) (any, error) { return q.workers(q.Context()) }
