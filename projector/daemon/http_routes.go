package daemon

import (
	"errors"
	"net/http"
	"time"
)

// route is something that is answered. The API's description, the reference and the
// labels of metrics are held against the table of them.
type route struct {
	method, pattern string
	summary         string
	// call is what a route of the API does; params are those of its query, and others
	// are refused, as they are of send.
	call   call
	params []string
	// send is what a route does that sends events.
	send func(*feeds, http.ResponseWriter, *http.Request) error
	// handler is what any other route does. One that has neither is not there.
	handler http.Handler
	// within is how long an answer may take, if not callWithin, or answerWithin without
	// a call.
	within time.Duration
	// turns has room for as many as are answered at a time, where each takes much of the
	// daemon; nil where all are.
	turns chan struct{}
	// probe is answered without a look at who asks.
	probe bool
	// file is answered where no other route is and the program has a file. Those are not
	// secret, and a browser that is led to a page shows no token.
	file bool
}

const (
	// longWithin is how long what waits or deletes may take.
	longWithin = 10 * time.Minute
	// untilEnd is how long events are sent: until the client or the server ends it.
	untilEnd = time.Duration(-1)
)

const (
	// pagesAtOnce is how many pages of events are made and written at a time: one takes
	// some tens of MB where events are large.
	pagesAtOnce = 4
	// listsAtOnce is how many look through everything there is at a time.
	listsAtOnce = 1
)

// table returns everything that is answered.
func (v *server) table() []route {
	var profiles http.Handler
	if v.HTTPPprof {
		profiles = http.HandlerFunc(v.profile)
	}
	var files http.Handler
	if v.app.Pages != nil {
		files = http.HandlerFunc(v.showFile)
	}
	pages, lists := make(chan struct{}, pagesAtOnce), make(chan struct{}, listsAtOnce)
	return []route{
		{method: "GET", pattern: "/healthz", summary: "200 as long as the process turns over", handler: http.HandlerFunc(v.healthz), probe: true},
		{method: "GET", pattern: "/readyz", summary: "200 when it works, else 503 with the reasons", handler: http.HandlerFunc(v.readyz), probe: true},
		{method: "GET", pattern: "/metrics", summary: "metrics for Prometheus", handler: v.metrics()},
		{method: "GET", pattern: "/debug/pprof/{profile...}", summary: "profiles of the Go runtime, with http-pprof only", handler: profiles, within: longWithin},
		{method: "GET", pattern: "/api/v1/openapi.yaml", summary: "this API in OpenAPI", handler: http.HandlerFunc(describe)},

		{method: "GET", pattern: "/api/v1/status", summary: "how workers, projections and generations stand", call: getStatus},
		{method: "GET", pattern: "/api/v1/workers", summary: "the workers that live", call: getWorkers},
		{method: "GET", pattern: "/api/v1/workers/pending", summary: "what workers are at, the oldest first", call: getPending, params: []string{"limit", "projection", "worker"}, turns: lists, within: answerWithin},
		{method: "POST", pattern: "/api/v1/workers/{worker}/drain", summary: "have a worker end in good order", call: postDrain},
		{method: "GET", pattern: "/api/v1/logs", summary: "how long the logs of pointers are, and how far each group has read them", call: getLogs, params: []string{"each"}},

		{method: "GET", pattern: "/api/v1/streams", summary: "streams with their heads, by name", call: getStreams, params: []string{"limit", "category", "after", "ended"}, turns: lists, within: answerWithin},
		{method: "GET", pattern: "/api/v1/streams/{stream}", summary: "events of a stream, decoded", call: getStream, params: []string{"limit", "from", "backward"}, turns: pages},
		{method: "POST", pattern: "/api/v1/streams/{stream}/events", summary: "append an event", call: postEvent},
		{method: "GET", pattern: "/api/v1/streams/{stream}/events", summary: "events of a stream as they come (server-sent events)", send: (*feeds).events, params: []string{"from"}, within: untilEnd},

		{method: "GET", pattern: "/api/v1/projections", summary: "the projections", call: getProjections},
		{method: "GET", pattern: "/api/v1/projections/{name}", summary: "all that is known of a projection", call: getProjection},
		{method: "GET", pattern: "/api/v1/projections/{name}/documents/{id}", summary: "a document or a row", call: getDocument, params: []string{"generation"}},
		{method: "GET", pattern: "/api/v1/projections/{name}/changes", summary: "changes of documents as they come (server-sent events)", send: (*feeds).changes, within: untilEnd},
		{method: "GET", pattern: "/api/v1/projections/{name}/wait", summary: "wait until readers see a version of a stream", call: getWait, params: []string{"stream", "version", "timeout", "generation"}, within: longWithin},
		{method: "POST", pattern: "/api/v1/projections/{name}/pause", summary: "leave a generation half built", call: postPause},
		{method: "POST", pattern: "/api/v1/projections/{name}/resume", summary: "go on with a generation that is paused or failed", call: postResume},
		{method: "POST", pattern: "/api/v1/projections/{name}/rebuild", summary: "build a new generation", call: postRebuild, within: answerWithin},
		{method: "POST", pattern: "/api/v1/projections/{name}/promote", summary: "have readers see a generation that is built", call: postPromote, within: longWithin},
		{method: "POST", pattern: "/api/v1/projections/{name}/rollback", summary: "have readers see again what they saw before", call: postRollback, within: longWithin},
		{method: "POST", pattern: "/api/v1/projections/{name}/retire", summary: "delete a generation that readers do not see", call: postRetire, within: longWithin},

		{method: "GET", pattern: "/api/v1/parked", summary: "streams that are parked, the oldest first", call: getParked, params: []string{"limit", "projection"}, turns: lists, within: answerWithin},
		{method: "GET", pattern: "/api/v1/parked/{projection}/{stream}", summary: "why a stream is parked, and the event it stands before", call: getParkedStream, params: []string{"generation"}},
		{method: "POST", pattern: "/api/v1/parked/{projection}/{stream}/retry", summary: "have a parked stream tried again", call: postRetry},
		{method: "POST", pattern: "/api/v1/parked/{projection}/{stream}/skip", summary: "leave out the event that a stream is parked at", call: postSkip},

		{method: "GET", pattern: "/{file...}", summary: "pages of the program, where it has some; / is index.html", handler: files, file: true},
	}
}

// mount makes the routes of the table.
func (v *server) mount() {
	v.routes, v.mux, v.files, v.by = v.table(), http.NewServeMux(), http.NewServeMux(), make(map[string]*route)
	for i := range v.routes {
		r := &v.routes[i]
		switch {
		case r.call != nil:
			r.handler = v.api(r)
		case r.send != nil:
			r.handler = v.events(r)
		}
		mux := v.mux
		if r.file {
			mux = v.files
		}
		if pattern := r.method + " " + r.pattern; r.handler != nil {
			mux.Handle(pattern, r.handler)
			v.by[pattern] = r
		}
	}
}

// errConnecting says that the namespace is not open yet.
var errConnecting = errors.New("the namespace is not open yet: /readyz tells when it is")

// feedClients is how many clients follow feeds at the most. One that does not read takes
// up to some MB until it is dropped.
const feedClients = 1000

// events returns the handler of a route that sends events, whose within is untilEnd: it
// ends with the client or with the server. Until the first byte is written the error of
// send is answered; after that nobody would understand it.
func (v *server) events(to *route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := understood(r, to.params)
		if err == nil {
			err = v.send(to, w, r)
		}
		if out, ok := w.(*recorder); err != nil && ok && out.code == 0 {
			v.fail(w, r, err)
		}
	})
}

// send has a client follow. As long as the namespace is not open it is held, because a
// browser does not come back after a refusal.
func (v *server) send(to *route, w http.ResponseWriter, r *http.Request) error {
	select {
	case v.following <- struct{}{}:
		defer func() { <-v.following }()
	default:
		err := refused(http.StatusServiceUnavailable, "%d clients follow already, and no more are taken: come back later, or ask another daemon", cap(v.following))
		err.header = http.Header{"Retry-After": {"5"}}
		return err
	}
	// A server's deadline for reading requests would end this one.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	select {
	case <-v.isOpen:
		return to.send(v.feeds.Load(), w, r)
	case <-r.Context().Done():
		return fail(exitUnavailable, "%w", errConnecting)
	}
}
