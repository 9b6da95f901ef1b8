package main

import (
	"math"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// Created, Contacted and Won are what becomes of a lead, by the names of the fields that the
// other program writes.
type (
	Created struct {
		By string `msgpack:"created_by"`
	}
	Contacted struct {
		By string `msgpack:"contacted_by"`
	}
	Won struct {
		Amount int64 `msgpack:"amount"`
	}
)

// Reading is what a sensor has measured.
type Reading struct {
	Temperature float64 `msgpack:"temperature"`
	Humidity    float64 `msgpack:"humidity"`
}

func registry() *eventstore.Registry {
	r := eventstore.NewRegistry()
	eventstore.Register[Created](r, "lead.created", 1)
	eventstore.Register[Contacted](r, "lead.contacted", 1)
	eventstore.Register[Won](r, "lead.won", 1)
	eventstore.Register[Reading](r, "reading", 1)
	return r
}

// lead is how a lead stands.
type lead struct {
	Status, By string
	Contacts   int64
	Amount     int64
}

// leads is the projection of the leads, a document each.
func leads(events *eventstore.Registry) projector.Projection {
	p := projector.NewState("leads", projector.StateConfig[lead]{
		Categories: []string{"lead"}, Events: events, New: func() lead { return lead{} },
		Document: func(l *lead, d *projector.Document) {
			d.SetString("status", l.Status)
			d.SetString("created_by", l.By)
			d.SetInt("contacts", l.Contacts)
			d.SetInt("amount", l.Amount)
		},
	})
	projector.On(p, func(l *lead, e Created) { l.Status, l.By = "new", e.By })
	projector.On(p, func(l *lead, e Contacted) { l.Status = "contacted"; l.Contacts++ })
	projector.On(p, func(l *lead, e Won) { l.Status, l.Amount = "won", l.Amount+e.Amount })
	return p
}

// room is how it is in a room now, and how many readings say so.
type room struct {
	Temperature, Humidity float64
	Readings              int64
}

// rooms is the projection of the rooms, a document each.
func rooms(events *eventstore.Registry) projector.Projection {
	p := projector.NewState("rooms", projector.StateConfig[room]{
		Categories: []string{"room"}, Events: events, New: func() room { return room{} },
		Document: func(r *room, d *projector.Document) {
			d.SetFloat("temperature", r.Temperature)
			d.SetFloat("humidity", r.Humidity)
			d.SetInt("readings", r.Readings)
		},
	})
	projector.On(p, func(r *room, e Reading) {
		r.Temperature, r.Humidity = e.Temperature, e.Humidity
		r.Readings++
	})
	return p
}

// hot is from where on a reading counts as hot, in degrees.
const hot = 30

// climate is the projection of what the readings of all rooms add up to.
func climate(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta("climate", projector.DeltaConfig{Categories: []string{"room"}, Events: events})
	projector.OnDelta(p, func(f *projector.Effects, e Reading, r *eventstore.Recorded) {
		for _, row := range []string{"all", r.Stream.ID()} {
			f.Row(row).Add("readings", 1)
			f.Row(row).Add("centidegrees", int64(math.Round(100*e.Temperature)))
			if e.Temperature >= hot {
				f.Row(row).Add("hot", 1)
			}
		}
	})
	return p
}
