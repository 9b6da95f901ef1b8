// Command deltas keeps messages that come in fragments, as docs/guides/delta-streams.md
// tells: each message is a stream, each fragment an event, and what nobody writes to any
// more is removed.
package main

import (
	"context"
	"os"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// Fragment is a piece of a message.
type Fragment struct {
	Text string `msgpack:"text"`
}

// Message is what the fragments of a message come to.
type Message struct{ Text string }

// messages is the projection of the whole messages, for those who come later.
func messages(events *eventstore.Registry) projector.Projection {
	p := projector.NewState("messages", projector.StateConfig[Message]{
		Categories: []string{"message"}, Events: events,
		New:      func() Message { return Message{} },
		Document: func(m *Message, d *projector.Document) { d.SetString("text", m.Text) },
	})
	projector.On(p, func(m *Message, f Fragment) { m.Text += f.Text })
	return p
}

// rules say that a message without a new fragment for an hour, or as long as
// DELTAS_IDLE says, goes.
func rules(context.Context, *daemon.Backends) (map[string]projector.Rule, error) {
	idle := time.Hour
	if text := os.Getenv("DELTAS_IDLE"); text != "" {
		var err error
		if idle, err = time.ParseDuration(text); err != nil {
			return nil, err
		}
	}
	return map[string]projector.Rule{"message": {Idle: idle}}, nil
}

func main() {
	events := eventstore.NewRegistry()
	eventstore.Register[Fragment](events, "fragment", 1)
	daemon.Main(daemon.App{
		Name: "deltas", Events: events, Retention: rules,
		Projections: []daemon.Projection{daemon.Keep(messages(events), daemon.InHashes("message:text"))},
	})
}
