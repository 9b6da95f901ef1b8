package main

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// category is that of the streams that are messages.
const category = "message"

// Asked begins a message: somebody wants an answer.
type Asked struct {
	Question string `msgpack:"question"`
}

// Fragment is a piece of a message.
type Fragment struct {
	Text string `msgpack:"text"`
}

// Finished says that the answer is complete.
type Finished struct{}

func registry() *eventstore.Registry {
	events := eventstore.NewRegistry()
	eventstore.Register[Asked](events, "asked", 1)
	eventstore.Register[Fragment](events, "fragment", 1)
	eventstore.Register[Finished](events, "finished", 1)
	return events
}

// Message is what the events of a message come to.
type Message struct {
	Question, Text string
	Fragments      int64
	Finished       bool
}

// messages is the projection of the whole messages, for those who come later.
func messages(events *eventstore.Registry) projector.Projection {
	p := projector.NewState("messages", projector.StateConfig[Message]{
		Categories: []string{category}, Events: events,
		New: func() Message { return Message{} },
		Document: func(m *Message, d *projector.Document) {
			d.SetString("question", m.Question)
			d.SetString("text", m.Text)
			d.SetInt("fragments", m.Fragments)
			d.SetBool("finished", m.Finished)
		},
	})
	projector.On(p, func(m *Message, a Asked) { m.Question, m.Finished = a.Question, false })
	projector.On(p, func(m *Message, f Fragment) { m.Text, m.Fragments = m.Text+f.Text, m.Fragments+1 })
	projector.On(p, func(m *Message, _ Finished) { m.Finished = true })
	return p
}
