package daemon

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// route is something that is answered. The API's description, the reference and the
// labels of metrics are held against the table of them.
type route struct {
	method, pattern string
	summary         string
	// params are those of the query; others are refused. Nil for a route outside the
	// API, which looks for itself.
	params []string
	// handler is nil for what this program leaves out.
	handler http.Handler
	// within is how long an answer may take, if not answerWithin.
	within time.Duration
	// probe is answered without a look at who asks.
	probe bool
}

const (
	// longWithin is how long what waits or deletes may take.
	longWithin = 10 * time.Minute
	// untilEnd is how long events are sent: until the client or the server ends it.
	untilEnd = time.Duration(-1)
)

// table returns everything that is answered.
func (v *server) table() []route {
	var profiles http.Handler
	if v.HTTPPprof {
		profiles = http.HandlerFunc(profile)
	}
	return []route{
		{method: "GET", pattern: "/healthz", summary: "200 as long as the process turns over", handler: http.HandlerFunc(v.healthz), probe: true},
		{method: "GET", pattern: "/readyz", summary: "200 when it works, else 503 with the reasons", handler: http.HandlerFunc(v.readyz), probe: true},
		{method: "GET", pattern: "/metrics", summary: "metrics for Prometheus", handler: v.metrics()},
		{method: "GET", pattern: "/debug/pprof/{profile...}", summary: "profiles of the Go runtime, with http-pprof only", handler: profiles, within: longWithin},
	}
}

// mount makes the routes of the table.
func (v *server) mount() {
	v.routes, v.mux, v.by = v.table(), http.NewServeMux(), make(map[string]*route)
	for i := range v.routes {
		r := &v.routes[i]
		if pattern := r.method + " " + r.pattern; r.handler != nil {
			v.mux.Handle(pattern, r.handler)
			v.by[pattern] = r
		}
	}
}

// errConnecting says that the namespace is not open yet.
var errConnecting = fmt.Errorf("the namespace is not open yet: /readyz tells when it is")

// events returns the handler of a route that sends events, whose within is untilEnd. send
// ends when its context does, which is with the client or with the server. Until the first
// byte is written its error is answered; after that nobody would understand it.
func (v *server) events(send func(context.Context, *space, http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := v.opened.Load()
		if s == nil {
			v.fail(w, r, fail(exitUnavailable, "%w", errConnecting))
			return
		}
		err := send(r.Context(), s, w, r)
		if out, ok := w.(*recorder); err != nil && ok && out.code == 0 {
			v.fail(w, r, err)
		}
	})
}
