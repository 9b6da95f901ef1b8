package metrics

import "github.com/prometheus/client_golang/prometheus"

// The labels.
const (
	labelProjection = "projection"
	labelGeneration = "generation"
	labelReason     = "reason"
	labelStage      = "stage"
	labelState      = "state"
)

// vectors are the metrics that grow with what workers tell.
type vectors struct {
	sessions, sessionsLost prometheus.Counter

	claims, takeovers, disowned, settled, conflicts, events, batches, parked, halted, pauses, lagErrors *prometheus.CounterVec

	duration, streams *prometheus.HistogramVec
}

func newVectors() vectors {
	return vectors{
		sessions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "projectord_sessions_total",
			Help: "Sessions begun by the workers of this process. One per worker is normal; more mean that it was held for dead and began anew.",
		}),
		sessionsLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "projectord_sessions_lost_total",
			Help: "Sessions that ended without being stopped: heartbeats came too late, or the worker's name went to another process. Its streams went to others.",
		}),
		claims: counter("projectord_claims_total",
			"Streams claimed, once for each time a worker took one up."),
		takeovers: counter("projectord_takeovers_total",
			"Pointers taken over from sessions that were stopped or died. It grows with deployments; where it does without one, workers crash or send their heartbeats too late."),
		disowned: counter("projectord_disowned_total",
			"Streams that a worker took for its own and were not any more. Harmless for the documents, work done for nothing."),
		settled: counter("projectord_settled_total",
			"Streams done with: applied up to their heads and given back."),
		conflicts: counter("projectord_conflicts_total",
			"Commits refused by the compare-and-set, because somebody else had got on with the stream. The refusal is what keeps the document right; many mean that workers do each other's work."),
		events: counter("projectord_events_applied_total",
			"Events that took effect: those of commits that were made."),
		batches: counter("projectord_batches_total",
			"Batches of streams worked on to their end. Batches cut short by a backend in trouble do not count."),
		parked: counter("projectord_parked_total",
			"Streams parked, by reason: poison, hole, truncated, regressed, forked or other. See projectord_parked_streams for how many are now.", labelReason),
		halted: counter("projectord_halted_total",
			"Times a stream could not go on and was put off for another attempt, by reason. After the last attempt it is parked instead.", labelReason),
		pauses: counter("projectord_pauses_total",
			"Attempts that failed because Redis or the sink was in trouble, each followed by a pause. Nothing is parked for that."),
		lagErrors: counter("projectord_lag_errors_total",
			"Measurements of the lag that failed or took too long. Meanwhile the gauges of the lag and of parked streams are absent."),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "projectord_batch_duration_seconds",
			Help:    "Time a batch spent in a stage: load reads checkpoints, fold reads and applies events, commit writes. A stage that a batch did not come to is left out.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{labelProjection, labelGeneration, labelStage}),
		streams: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "projectord_batch_streams",
			Help:    "Streams in a batch, up to 256. Batches grow with the backlog: small ones mean that the worker keeps up.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}, []string{labelProjection, labelGeneration}),
	}
}

func counter(name, help string, more ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{labelProjection, labelGeneration}, more...))
}

// collectors returns all of them.
func (v *vectors) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		v.sessions, v.sessionsLost,
		v.claims, v.takeovers, v.disowned, v.settled, v.conflicts, v.events, v.batches, v.parked, v.halted, v.pauses, v.lagErrors,
		v.duration, v.streams,
	}
}
