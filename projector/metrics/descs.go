package metrics

import "github.com/prometheus/client_golang/prometheus"

// desc describes a metric that is looked up at a scrape.
func desc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{labelProjection, labelGeneration}, more...), nil)
}

var (
	descState = desc("projectord_worker_state",
		"How many workers of this process are in a state: running, paused (a backend is in trouble) or stopped (no session). With one worker, 1 for its state and 0 for the others.", labelState)
	descHeld = desc("projectord_held_streams",
		"Streams that the workers of this process hold. At its capacity a worker takes on no more.")
	descInFlight = desc("projectord_batches_in_flight",
		"Batches under way, up to 4 per worker. When it stays there, the sink or the folding limits the worker.")
	descCached = desc("projectord_cached_states",
		"States of streams kept in memory to go on from.")
	descCacheBytes = desc("projectord_cache_bytes",
		"Memory that the kept states take, an estimate.")
	descHits = desc("projectord_cache_hits_total",
		"Times that a stream which grew was gone on with from a kept state.")
	descMisses = desc("projectord_cache_misses_total",
		"Times that a stream which grew had no kept state, so that it was folded from its beginning. It means nothing for delta projections and reactors, which keep no states.")
	descLagPointers = desc("projectord_lag_pointers",
		"Entries of the logs that are undelivered or pending: the appends that nobody is done with, whatever their category. The same for all workers of a projection: take the maximum over processes, not the sum.")
	descPending = desc("projectord_pending_pointers",
		"Entries of the logs that sessions were given and have not settled: what is under way, or stuck. The rest of projectord_lag_pointers no session was given yet. Take the maximum over processes, not the sum.")
	descLogEntries = prometheus.NewDesc("projectord_log_entries",
		"Entries in the logs of all partitions, those that everybody is done with included until they are trimmed. Take the maximum over processes, not the sum.", nil, nil)
	descLagEvents = desc("projectord_lag_events",
		"Events appended and not applied yet, without those of parked streams; estimated where more than 1,000 pointers are outstanding. Take the maximum over processes, not the sum.")
	descLagSeconds = desc("projectord_lag_seconds",
		"Age of the oldest entry that nobody is done with. It grows while anything is stuck, even one stream. Take the maximum over processes.")
	descParked = desc("projectord_parked_streams",
		"Streams parked now, that nobody works on until they are retried or their event is skipped. Take the maximum over processes, not the sum.")
)

// described are the metrics that are looked up at a scrape.
var described = []*prometheus.Desc{
	descState, descHeld, descInFlight, descCached, descCacheBytes, descHits, descMisses,
	descLagPointers, descPending, descLogEntries, descLagEvents, descLagSeconds, descParked,
}
