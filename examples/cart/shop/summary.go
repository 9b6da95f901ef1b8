package shop

import (
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// SummaryProjection is the projection of one line about each cart, for a table
// with a column per field. It has the fields of [CounterFields] too.
const SummaryProjection = "cart_summary"

// The fields of a summary beside the counters.
const (
	ItemsField      = "items"       // how many different items are held
	UnitsField      = "units"       // net quantity of all of them
	TotalMilliField = "total_milli" // what was added minus what was taken out
	FirstEventField = "first_event" // the earliest time of an event
	LastEventField  = "last_event"  // the latest
)

// summary is what one cart comes to. It has to know what is held to tell how many
// items there are. The fields are exported, so that snapshots of it can be kept.
type summary struct {
	Holdings     map[string]int64
	Counts       [5]int64 // in the order of [CounterFields]
	Units, Total int64
	First, Last  time.Time
}

// Summary returns the projection of one line about each cart. The registry is
// that of [Define].
func Summary(events *eventstore.Registry) projector.Projection {
	p := projector.NewState(SummaryProjection, projector.StateConfig[summary]{
		Categories: []string{Category},
		Events:     events,
		New:        func() summary { return summary{Holdings: make(map[string]int64)} },
		Document:   (*summary).document,
	})
	projector.OnRecorded(p, func(s *summary, e ItemAdded, r *eventstore.Recorded) { s.line(0, e.Item, e.Qty, e.PriceMilli, r) })
	projector.OnRecorded(p, func(s *summary, e ItemRemoved, r *eventstore.Recorded) { s.line(1, e.Item, -e.Qty, e.PriceMilli, r) })
	projector.OnRecorded(p, func(s *summary, _ CheckedOut, r *eventstore.Recorded) { s.count(2, r) })
	projector.OnRecorded(p, func(s *summary, _ ReturnClosed, r *eventstore.Recorded) { s.count(3, r) })
	projector.OnRecorded(p, func(s *summary, _ AdjustmentClosed, r *eventstore.Recorded) { s.count(4, r) })
	return p
}

func (s *summary) line(counter int, item string, qty, priceMilli int64, r *eventstore.Recorded) {
	change(s.Holdings, item, qty)
	s.Units += qty
	s.Total += amount(qty, priceMilli)
	s.count(counter, r)
}

// count counts an event. Times are told by who recorded the event, so a later one
// may have an earlier time.
func (s *summary) count(counter int, r *eventstore.Recorded) {
	s.Counts[counter]++
	if s.First.IsZero() || r.Time.Before(s.First) {
		s.First = r.Time
	}
	if r.Time.After(s.Last) {
		s.Last = r.Time
	}
}

func (s *summary) document(d *projector.Document) {
	for i, name := range CounterFields {
		d.SetInt(name, s.Counts[i])
	}
	d.SetInt(ItemsField, int64(len(s.Holdings)))
	d.SetInt(UnitsField, s.Units)
	d.SetInt(TotalMilliField, s.Total)
	d.SetTime(FirstEventField, s.First)
	d.SetTime(LastEventField, s.Last)
}
