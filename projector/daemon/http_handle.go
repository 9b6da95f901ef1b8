package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"runtime/debug"
	"time"
)

const (
	// maxBody is how large the body of a request may be.
	maxBody = 1 << 20
	// answerWithin is how long an answer may take that has no time of its own, callWithin
	// one of the API: so long that only a server that hangs takes longer.
	answerWithin = 30 * time.Second
	callWithin   = 5 * time.Second
)

// redirecting is what the mux answers with that knows a better path.
var redirecting = reflect.TypeOf(http.RedirectHandler("/", http.StatusTemporaryRedirect))

// ServeHTTP implements [http.Handler]. Every request comes through here: it is guarded,
// counted, and ends in time.
func (v *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin, out, mux := time.Now(), &recorder{ResponseWriter: w}, v.mux
	handler, pattern := mux.Handler(r)
	to := v.by[pattern]
	defer func() { v.counts.count(to, r.Method, out.status(), time.Since(begin)) }()
	defer v.recovered(out, r) // files are those of the program, and the look at them too
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if reflect.TypeOf(handler) == redirecting {
		to = nil // the path of a request is what it is about, and no other
	}
	if to == nil && v.hasFile(r.URL.Path) {
		mux = v.files
		handler, pattern = mux.Handler(r)
		to = v.by[pattern]
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(begin.Add(answerWithin + v.slack))
	if to == nil || !to.probe {
		if err := v.guard(r, to != nil && to.file); err != nil {
			v.fail(out, r, err)
			return
		}
	}
	if to == nil {
		v.unrouted(handler, out, r)
		return
	}
	if err := v.receive(out, r); err != nil {
		v.fail(out, r, err)
		return
	}
	within := to.within
	switch {
	case within == 0 && to.call != nil:
		within = callWithin
	case within == 0:
		within = answerWithin
	}
	if within == untilEnd {
		_ = control.SetWriteDeadline(time.Time{})
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(v.leaving, cancel)()
		r = r.WithContext(ctx)
	} else {
		_ = control.SetWriteDeadline(begin.Add(within + v.slack))
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		if within > answerWithin {
			defer context.AfterFunc(v.leaving, cancel)()
		}
		r = r.WithContext(ctx)
	}
	mux.ServeHTTP(out, r)
}

// receive reads the body of a request.
func (v *server) receive(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	large := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(err, &large):
		return refused(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", large.Limit)
	case timedOut(err):
		return refused(http.StatusRequestTimeout, "the body did not come within %s", v.http.ReadTimeout)
	case err != nil:
		return refused(http.StatusBadRequest, "reading the body: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); len(body) > 0 && kind != "application/json" {
		return refused(http.StatusUnsupportedMediaType, "a body is JSON, with Content-Type: application/json, not %q", clip(r.Header.Get("Content-Type"), 100))
	}
	return nil
}

// unrouted answers what no route is for. The mux knows which methods there are.
func (v *server) unrouted(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	said := &discarded{header: make(http.Header)}
	handler.ServeHTTP(said, r)
	switch said.code {
	case http.StatusMethodNotAllowed:
		err := refused(said.code, "%s is not for %s, but for %s", clip(r.URL.Path, 200), r.Method, said.header.Get("Allow"))
		err.header = http.Header{"Allow": said.header["Allow"]}
		v.fail(w, r, err)
	default:
		v.fail(w, r, refused(http.StatusNotFound, "there is nothing at %s: GET /api/v1/openapi.yaml lists what there is", clip(r.URL.Path, 200)))
	}
}

// recovered answers for a handler that panics.
func (v *server) recovered(w *recorder, r *http.Request) {
	reason := recover()
	if reason == nil {
		return
	}
	v.logger.Error("http: a handler panicked", "method", r.Method, "path", r.URL.Path, "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
	if w.code != 0 {
		panic(http.ErrAbortHandler) // half an answer shall not look like one
	}
	v.fail(w, r, errors.New("a mistake of the daemon; its log has more"))
}

// recorder remembers with which status a request was answered.
type recorder struct {
	http.ResponseWriter
	code int
}

func (w *recorder) WriteHeader(code int) {
	if w.code == 0 && code >= http.StatusOK {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}

// discarded is where an answer is written that nobody gets.
type discarded struct {
	header http.Header
	code   int
}

func (w *discarded) Header() http.Header         { return w.header }
func (w *discarded) WriteHeader(code int)        { w.code = code }
func (w *discarded) Write(b []byte) (int, error) { return len(b), nil }
