package daemon

import (
	"context"

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
	return q.streams(q.Context(), category, ended, after, limit)
}

func getStream(q *request) (any, error) {
	in := eventstore.Range{From: eventstore.Version(q.number("from", 0, 1, mostVersions)), Limit: q.limit(), Backward: q.flag("backward")}
	if q.wrong != nil {
		return nil, q.wrong
	}
	return q.page(q.Context(), q.PathValue("stream"), in)
}

// pageBytes is about how much of payloads is answered with at a time.
const pageBytes = 8 << 20

// eventsPage is events of a stream, of which there may be more.
type eventsPage struct {
	eventsView
	// Next is the version to go on from, where not all are listed.
	Next uint64 `json:"next,omitempty"`
}

// page returns events of a stream, in.Limit at the most, and fewer where they are large.
func (s *space) page(ctx context.Context, name string, in eventstore.Range) (eventsPage, error) {
	var v eventsPage
	left, room, usual := in.Limit, pageBytes, eventstore.MaxEventBytes
	for first := true; left > 0 && room > 0; first = false {
		in.Limit = max(1, min(left, room/usual))
		some, err := s.events(ctx, name, in)
		if err != nil {
			return v, err
		}
		if first {
			v.eventsView = some
		} else {
			v.Events = append(v.Events, some.Events...)
		}
		n, bytes := len(some.Events), 0
		for _, e := range some.Events {
			bytes += e.Bytes
		}
		left, room = left-n, room-bytes
		if v.Next = 0; n == 0 {
			break
		}
		// At once for larger events, slowly for smaller ones.
		usual = max(bytes/n, usual/4, 1)
		switch last := some.Events[n-1].Version; {
		case n < in.Limit:
			return v, nil
		case in.Backward:
			v.Next = last - 1
		case last < v.Head:
			v.Next = last + 1
		}
		if in.From = eventstore.Version(v.Next); in.From == 0 {
			break
		}
	}
	return v, nil
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
	name := q.PathValue("name")
	if generation > 0 {
		// One that the projection does not have does not come by waiting; a projection
		// that never ran may.
		if _, err := q.readable(q.Context(), name, generation); exitCode(err) == exitAbsent {
			if there, failed := q.recordsOf(q.Context(), []string{name}); failed == nil && len(there) > 0 {
				return nil, err
			}
		}
	}
	return q.wait(q.Context(), nil, name, stream, version, generation, timeout)
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

func getPending(q *request) (any, error) {
	limit := q.limit()
	if q.wrong != nil {
		return nil, q.wrong
	}
	return q.pending(q.Context(), q.text("projection"), q.text("worker"), limit)
}

func getLogs(q *request) (any, error) {
	each := q.flag("each")
	if q.wrong != nil {
		return nil, q.wrong
	}
	return q.logs(q.Context(), each)
}
