package shop

import (
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// DaysProjection is the projection of each day's trade over all carts: a row per
// date, such as 2011-12-09, in UTC.
const DaysProjection = "days"

// DayFields are the columns of a day's row, all of them counts. Quantities taken
// out are negative, and what closes an order is no line.
var DayFields = []string{"lines", "units", "total_milli"}

// Days returns the projection of each day's trade. The registry is that of
// [Define].
func Days(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta(DaysProjection, projector.DeltaConfig{
		Categories: []string{Category},
		Types:      []string{NameItemAdded, NameItemRemoved},
		Events:     events,
	})
	projector.OnDelta(p, func(f *projector.Effects, e ItemAdded, r *eventstore.Recorded) {
		addLine(f.Row(date(r)), e.Qty, e.PriceMilli)
	})
	projector.OnDelta(p, func(f *projector.Effects, e ItemRemoved, r *eventstore.Recorded) {
		addLine(f.Row(date(r)), -e.Qty, e.PriceMilli)
	})
	return p
}

// date returns the day on which an event happened, according to who recorded it.
func date(r *eventstore.Recorded) string { return r.Time.UTC().Format(time.DateOnly) }
