// Package metrics tells Prometheus what workers do and what is left to do.
//
//	m := metrics.New()
//	prometheus.MustRegister(m)
//	w, err := projector.NewWorker(projector.WorkerConfig{Observer: m, ...})
//	...
//	m.Watch(w, log)
//
// docs/metrics.md lists the metrics. Their labels are the projection, its
// generation and words of a fixed list; never a stream, an entity, a session or the
// text of an error, so that the number of time series does not grow with the data.
package metrics
