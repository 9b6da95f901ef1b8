package daemon

import (
	"net/http"
	"net/http/pprof"
	runtime "runtime/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/projectord/projectord/projector/metrics"
)

// counts is what /metrics tells.
type counts struct {
	registry *prometheus.Registry
	ours     prometheus.Registerer // of the registry, for what is of the namespace
	workers  *metrics.Metrics
	adoption *metrics.Adoption
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	build    *prometheus.GaugeVec
}

func newCounts(version versionView, namespace string) *counts {
	c := &counts{
		registry: prometheus.NewRegistry(), workers: metrics.New(), adoption: metrics.NewAdoption(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "projectord_http_requests_total", Help: "Requests that were answered.",
		}, []string{"route", "method", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "projectord_http_request_duration_seconds", Help: "How long answers took, event streams left out.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"route"}),
	}
	c.build = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "projectord_build_info", Help: "1, with what program this is.",
	}, []string{"name", "version", "revision", "go"})
	c.build.WithLabelValues(version.Name, version.Version, version.Revision, version.Go).Set(1)
	// By another name than that which Kubernetes has for its own namespaces.
	c.ours = prometheus.WrapRegistererWith(prometheus.Labels{"store": namespace}, c.registry)
	c.ours.MustRegister(c.workers, c.adoption, c.requests, c.took, c.build)
	c.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return c
}

// count counts a request. What is not of a fixed list is no label: there would be no end
// of time series.
func (c *counts) count(to *route, method string, code int, took time.Duration) {
	pattern := "none"
	if to != nil {
		pattern = to.pattern
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other"
	}
	c.requests.WithLabelValues(pattern, method, strconv.Itoa(code)).Inc()
	if to == nil || to.within != untilEnd {
		c.took.WithLabelValues(pattern).Observe(took.Seconds())
	}
}

func (v *server) metrics() http.Handler {
	return promhttp.HandlerFor(v.counts.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// profile answers with what the Go runtime knows of itself. The command line, which may
// hold a password, is left out.
func (v *server) profile(w http.ResponseWriter, r *http.Request) {
	switch name := r.PathValue("profile"); name {
	case "":
		pprof.Index(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		if runtime.Lookup(name) == nil {
			v.fail(w, r, refused(http.StatusNotFound, "there is no profile %q: /debug/pprof/ lists them", clip(name, 100)))
			return
		}
		pprof.Handler(name).ServeHTTP(w, r)
	}
}
