package daemon

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// eventView is an event as people can read it.
type eventView struct {
	Stream      string            `json:"stream"`
	Version     uint64            `json:"version"`
	ID          string            `json:"id"`
	Type        string            `json:"type"`
	Schema      int               `json:"schema"`
	Time        time.Time         `json:"time"`
	Correlation string            `json:"correlation,omitempty"`
	Causation   string            `json:"causation,omitempty"`
	Extra       map[string]string `json:"extra,omitempty"`
	Bytes       int               `json:"bytes"`
	// Data is the payload, decoded. Where that is not possible Undecoded says why, and
	// Raw is what is stored, in base64.
	Data      any    `json:"data,omitempty"`
	Undecoded string `json:"undecoded,omitempty"`
	Raw       string `json:"raw,omitempty"`
}

// eventsView is events of a stream.
type eventsView struct {
	Stream string `json:"stream"`
	Head   uint64 `json:"head"`
	// Kept is how many events it has: as many as Head, unless some were removed.
	Kept uint64 `json:"kept"`
	// First is the first there is, where those before it were removed and were asked
	// for.
	First  uint64      `json:"first,omitempty"`
	Events []eventView `json:"events"`
}

// viewEvent decodes the payload of an event without knowing its type.
func viewEvent(e *eventstore.Recorded) eventView {
	v := eventView{
		Stream: e.Stream.String(), Version: uint64(e.Version), ID: e.ID.String(), Type: e.Type, Schema: e.SchemaVersion, Time: e.Time,
		Correlation: e.Metadata.Correlation, Causation: e.Metadata.Causation, Extra: e.Metadata.Extra, Bytes: len(e.Data),
	}
	if len(e.Data) == 0 {
		return v
	}
	data, err := payload(e.Data)
	if err != nil {
		v.Undecoded, v.Raw = err.Error(), base64.StdEncoding.EncodeToString(e.Data)
		return v
	}
	v.Data = data
	return v
}

// payload decodes msgpack, or JSON where a program has that for its codec, to what can
// be written as JSON.
func payload(data []byte) (any, error) {
	var decoded any
	err := eventstore.MsgPack{}.Unmarshal(data, &decoded)
	if err == nil {
		return plain(decoded), nil
	}
	if json.Valid(data) {
		return json.RawMessage(bytes.Clone(data)), nil
	}
	return nil, err
}

// plain replaces what JSON does not know.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, of := range v {
			v[key] = plain(of)
		}
	case map[any]any:
		keyed := make(map[string]any, len(v))
		for key, of := range v {
			keyed[fmt.Sprint(key)] = plain(of)
		}
		return keyed
	case []any:
		for i, of := range v {
			v[i] = plain(of)
		}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case float32:
		return plain(float64(v))
	}
	return v
}

func (v eventsView) show(p *page) {
	if v.First > 0 {
		p.line("the events before version %d were removed\n", v.First)
	}
	for i, e := range v.Events {
		if i > 0 {
			p.line("")
		}
		e.block(p)
	}
	if len(v.Events) == 0 {
		p.line("%s has %s events, and none of those asked for", v.Stream, count(v.Head))
	}
}

func (v eventView) show(p *page) {
	v.block(p)
	p.line("")
}

// block writes an event for people.
func (v eventView) block(p *page) {
	p.line("%s@%d  %s, schema %d, %s", v.Stream, v.Version, v.Type, v.Schema, v.Time.Format(time.RFC3339Nano))
	about := []string{"id " + v.ID}
	if v.Correlation != "" {
		about = append(about, "correlation "+v.Correlation)
	}
	if v.Causation != "" {
		about = append(about, "causation "+v.Causation)
	}
	for _, key := range slices.Sorted(maps.Keys(v.Extra)) {
		about = append(about, key+" "+v.Extra[key])
	}
	p.line("  %s", strings.Join(about, ", "))
	switch {
	case v.Undecoded != "":
		p.line("  %d bytes that cannot be decoded: %s\n  %s", v.Bytes, v.Undecoded, v.Raw)
	case v.Data == nil:
		p.line("  no payload")
	default:
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v.Data); err != nil {
			p.line("  %v", err)
			return
		}
		p.line("  %s", strings.TrimRight(text.String(), "\n"))
	}
}
