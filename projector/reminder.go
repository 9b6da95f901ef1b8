package projector

import "time"

// remindEvery is how often it is worth telling what goes on being so.
const remindEvery = time.Minute

// reminder says when to tell something again that is tried often. The zero value is
// due.
type reminder struct{ next time.Time }

// due reports whether it is to be told now, and takes it that it is.
func (r *reminder) due(now time.Time) bool {
	if now.Before(r.next) {
		return false
	}
	r.next = now.Add(remindEvery)
	return true
}
