package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/projector"
)

// Observe implements [projector.Observer]. It counts, and does not block.
func (m *Metrics) Observe(o projector.Observation) {
	switch o := o.(type) {
	case projector.SessionBegan:
		m.sessions.Inc()
	case projector.SessionEnded:
		if o.Reason != nil {
			m.sessionsLost.Inc()
		}
	case projector.Claimed:
		m.at(o.Assignment).claims.Add(float64(len(o.Streams)))
	case projector.TakenOver:
		m.at(o.Assignment).takeovers.Add(float64(o.Pointers))
	case projector.Disowned:
		m.at(o.Assignment).disowned.Add(float64(len(o.Streams)))
	case projector.Settled:
		m.at(o.Assignment).settled.Add(float64(len(o.Streams)))
	case projector.Conflict:
		m.at(o.Assignment).conflicts.Inc()
	case projector.Batch:
		m.at(o.Assignment).batch(o)
	case projector.Halted:
		m.at(o.Assignment).halted[reasonOf(o.StreamError)].Inc()
	case projector.ParkedStream:
		m.at(o.Assignment).parked[reasonOf(o.StreamError)].Inc()
	case projector.Paused:
		m.at(o.Assignment).pauses.Inc()
	}
}

func (m *Metrics) at(a projector.Assignment) *series { return m.of(generationOf(a)) }

// batch counts a batch.
func (s *series) batch(b projector.Batch) {
	s.batches.Inc()
	s.events.Add(float64(b.Events))
	s.streams.Observe(float64(b.Streams))
	stage(s.load, b.Load)
	stage(s.fold, b.Fold)
	stage(s.commit, b.Commit)
}

// stage counts the time of a stage, unless the batch was over before.
func stage(o prometheus.Observer, d time.Duration) {
	if d > 0 {
		o.Observe(d.Seconds())
	}
}
