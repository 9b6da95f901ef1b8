package snapshots

import "time"

// Policy says whether a snapshot shall be taken, given how many events there are since
// the last one, or since the beginning, and how long loading the state just took; 0
// where nothing was loaded. It is asked only where there is at least one event. A policy
// does not block and is safe for concurrent use.
//
// Looking for a snapshot costs one more round trip, in which some 50 events can be read
// and folded; so snapshots every 100 events or more are worth their while, and none of
// streams that stay shorter.
type Policy func(events int, load time.Duration) bool

// Every has a snapshot taken once there are n events since the last one.
func Every(n int) Policy { return func(events int, _ time.Duration) bool { return events >= n } }

// Slower has a snapshot taken after a load that took longer than d.
func Slower(d time.Duration) Policy {
	return func(_ int, load time.Duration) bool { return load > d }
}

// None has no snapshot taken. Those that are there are used.
func None(int, time.Duration) bool { return false }

// Either has a snapshot taken where one of the policies does.
func Either(policies ...Policy) Policy {
	return func(events int, load time.Duration) bool {
		for _, p := range policies {
			if p(events, load) {
				return true
			}
		}
		return false
	}
}
