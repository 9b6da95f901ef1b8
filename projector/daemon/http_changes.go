package daemon

import (
	"encoding/json"
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// eventBody is an event to append.
type eventBody struct {
	Type   string          `json:"type"`
	Schema int             `json:"schema"`
	Data   json.RawMessage `json:"data"`
	// Expect is the version that the stream has, or any, none or exists.
	Expect      any    `json:"expect"`
	ID          string `json:"id"`
	Correlation string `json:"correlation"`
	Causation   string `json:"causation"`
	// Extra is what else is known about it.
	Extra map[string]string `json:"extra"`
}

// mostID is how long the ids may be that say what an event belongs to.
const mostID = 1000

func postEvent(q *request) (any, error) {
	body := eventBody{Schema: 1, Data: json.RawMessage("{}"), Expect: "any"}
	if q.body(&body); q.wrong != nil {
		return nil, q.wrong
	}
	stream, err := eventstore.ParseStreamID(q.PathValue("stream"))
	if err != nil {
		return nil, err
	}
	expected, err := expectation(fmt.Sprint(body.Expect))
	if version, is := body.Expect.(float64); is {
		expected, err = eventstore.Exact(eventstore.Version(version)), nil
		if version < 0 || version > mostVersions || version != float64(uint64(version)) {
			err = eventstore.ErrInvalidEvent
		}
	}
	if err != nil {
		return nil, usage("expect is \"any\", \"none\", \"exists\" or a version, not %v", body.Expect)
	}
	if body.Type == "" {
		return nil, usage("type is missing: it is the name of the event")
	}
	if len(body.Correlation) > mostID || len(body.Causation) > mostID {
		return nil, usage("correlation and causation are ids, of %d bytes at the most", mostID)
	}
	e := eventstore.Event{Type: body.Type, SchemaVersion: body.Schema, Metadata: eventstore.Metadata{Correlation: body.Correlation, Causation: body.Causation, Extra: body.Extra}}
	if e.ID, err = eventID(body.ID); err != nil {
		return nil, usage("id is a UUID, not %q", clip(body.ID, 100))
	}
	if e.Data, err = msgpacked(body.Data); err != nil {
		return nil, usage("data is %w", err)
	}
	if err := q.decodable(stream, e); err != nil {
		return nil, err
	}
	return q.append(q.Context(), stream, expected, e)
}

// generationBody says which generation something is done to; 0 has the command choose.
type generationBody struct {
	Generation int `json:"generation"`
}

func postPause(q *request) (any, error) {
	var body generationBody
	if q.body(&body); q.wrong != nil {
		return nil, q.wrong
	}
	return q.pause(q.Context(), q.PathValue("name"), body.Generation)
}

func postResume(q *request) (any, error) {
	var body generationBody
	if q.body(&body); q.wrong != nil {
		return nil, q.wrong
	}
	return q.resume(q.Context(), q.PathValue("name"), body.Generation)
}

func postRebuild(q *request) (any, error) {
	var body struct {
		Park    bool `json:"park"`
		Rate    int  `json:"rate"`
		Workers int  `json:"workers"`
		Again   bool `json:"again"`
	}
	q.body(&body)
	if body.Rate < 0 || body.Workers < 0 {
		q.mistake("rate and workers are 1 or more, or 0 for no limit")
	}
	if q.wrong != nil {
		return nil, q.wrong
	}
	c := &rebuilding{space: q.space, name: q.PathValue("name"), park: body.Park, rate: body.Rate, workers: body.Workers, again: body.Again}
	record, err := c.begin(q.Context())
	if err != nil {
		return nil, err
	}
	return c.stand(record)
}

// switchBody says how readers are to see another generation.
type switchBody struct {
	Now     bool   `json:"now"`
	Timeout string `json:"timeout"`
	Confirm bool   `json:"confirm"`
}

func (b switchBody) how(q *request) switching {
	return switching{now: b.Now, yes: b.Confirm, timeout: q.timeout(b.Timeout)}
}

func postPromote(q *request) (any, error) {
	var body struct {
		generationBody
		switchBody
	}
	q.body(&body)
	c := &promoting{space: q.space, number: body.Generation, switching: body.how(q)}
	if q.wrong != nil {
		return nil, q.wrong
	}
	return c.run(q.Context(), q.PathValue("name"))
}

func postRollback(q *request) (any, error) {
	var body switchBody
	q.body(&body)
	c := &rollingBack{space: q.space, switching: body.how(q)}
	if q.wrong != nil {
		return nil, q.wrong
	}
	return c.run(q.Context(), q.PathValue("name"))
}

func postRetire(q *request) (any, error) {
	var body struct {
		generationBody
		Confirm bool `json:"confirm"`
	}
	q.body(&body)
	if body.Generation < 1 {
		q.mistake("generation is missing: it is the number of the one to delete")
	}
	if q.wrong != nil {
		return nil, q.wrong
	}
	return (&retiring{space: q.space, number: body.Generation, yes: body.Confirm}).run(q.Context(), q.PathValue("name"))
}

func postDrain(q *request) (any, error) {
	if q.body(&struct{}{}); q.wrong != nil {
		return nil, q.wrong
	}
	return q.drain(q.Context(), q.PathValue("worker"))
}

func postRetry(q *request) (any, error) {
	if q.body(&struct{}{}); q.wrong != nil {
		return nil, q.wrong
	}
	return q.retry(q.Context(), []string{q.PathValue("projection"), q.PathValue("stream")})
}

func postSkip(q *request) (any, error) {
	var body struct {
		generationBody
		Version uint64 `json:"version"`
		Reason  string `json:"reason"`
		By      string `json:"by"`
		Confirm bool   `json:"confirm"`
	}
	q.body(&body)
	switch {
	case body.Version == 0:
		q.mistake("version is missing: it is that of the event the stream is parked at")
	case body.Reason == "":
		q.mistake("reason is missing: it is kept, for those who look for the event")
	case body.By == "":
		q.mistake("by is missing: it is kept who decided it")
	}
	if q.wrong != nil {
		return nil, q.wrong
	}
	c := &skipping{space: q.space, version: body.Version, reason: body.Reason, by: body.By, number: body.Generation, yes: body.Confirm}
	return c.run(q.Context(), q.PathValue("projection"), q.PathValue("stream"))
}
