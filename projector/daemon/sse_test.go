package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spf13/pflag"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

// site is a server of feeds.
type site struct {
	*fixture
	*feeds
	server *httptest.Server
	end    context.CancelFunc // of the feeds
}

// kinds are the URLs of all kinds of Redis.
var kinds = map[string]func(*testing.T) string{
	"Embedded": func(t *testing.T) string { return "redis://" + testenv.Embedded(t).Options().Addr },
	"Redis":    func(t *testing.T) string { return testenv.RedisURL(t) },
	"Cluster": func(t *testing.T) string {
		return strings.Replace(testenv.ClusterURLs(t)[0], "redis://", "redis+cluster://", 1)
	},
}

// onKinds runs a test on kinds of Redis, at the same time.
func onKinds(t *testing.T, names []string, test func(t *testing.T, redisURL string)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, kinds[name](t))
		})
	}
}

var (
	everyKind = []string{"Embedded", "Redis", "Cluster"}
	oneServer = []string{"Embedded", "Redis"}
)

// feedsAt serves the feeds of a new namespace in a Redis, of which change may change
// what takes long.
func feedsAt(t *testing.T, redisURL string, app App, change func(*site)) *site {
	t.Helper()
	f := bare(t, app).with(env("redis-url") + "=" + redisURL)
	s := &site{fixture: f}
	space := f.space(t)
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	s.feeds, s.end = newFeeds(ctx, space), end
	s.every = 20 * time.Millisecond
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/streams/{stream}/events", orError(s.events))
	mux.HandleFunc("GET /api/v1/projections/{name}/changes", orError(s.changes))
	s.server = httptest.NewUnstartedServer(mux)
	if change != nil {
		change(s)
	}
	s.server.Start()
	t.Cleanup(func() {
		end()
		s.server.Close()
		s.feeds.wait()
	})
	return s
}

// orError answers with the error of a feed.
func orError(of func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := of(w, r); err != nil {
			http.Error(w, err.Error(), map[int]int{exitUsage: http.StatusBadRequest, exitAbsent: http.StatusNotFound}[exitCode(err)])
		}
	}
}

// space opens the namespace until the end of the test, and creates it.
func (f *fixture) space(t *testing.T) *space {
	t.Helper()
	config, err := load(pflag.NewFlagSet("", pflag.ContinueOnError), f.environ)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{app: f.app, config: config, out: io.Discard, err: io.Discard, environ: f.environ}
	space, err := p.open(t.Context(), redisstore.Config{Partitions: 4}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(space.close)
	return space
}

// add appends events to a stream, each of one item.
func (s *site) add(stream string, items ...string) eventstore.Appended {
	s.Helper()
	var all []eventstore.Event
	for _, item := range items {
		event, err := shopEvents().Encode(added{item, 1})
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, event)
	}
	id, err := eventstore.ParseStreamID(stream)
	if err != nil {
		s.Fatal(err)
	}
	at, err := s.feeds.space.store.Append(context.WithoutCancel(s.Context()), id, eventstore.Any, all...)
	if err != nil {
		s.Error(err)
	}
	return at
}

// counted returns n items.
func counted(n int) []string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprint("item ", i)
	}
	return items
}

// message is an event as a client gets it.
type message struct{ name, id, data string }

// value returns a value of the data.
func (m message) value(key string) any {
	var data map[string]any
	if err := json.Unmarshal([]byte(m.data), &data); err != nil {
		return err
	}
	return data[key]
}

// listener is a client of a feed, which does as a browser's EventSource.
type listener struct {
	*testing.T
	url      string
	last     string // the id it was given last
	comments int    // how many it was given
	response *http.Response
	lines    *bufio.Reader
	cancel   context.CancelFunc
	dial     net.Dialer
	stay     time.Duration // at the most
}

// listen returns a client that is not connected yet.
func (s *site) listen(path string) *listener {
	l := &listener{T: s.T, stay: waitLong, url: s.server.URL + "/api/v1/" + path}
	s.Cleanup(l.leave)
	return l
}

func streamPath(stream string) string { return "streams/" + url.PathEscape(stream) + "/events" }

// connect connects, again, and returns the status.
func (l *listener) connect() int {
	l.Helper()
	l.leave()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.Context()), l.stay)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		l.Fatal(err)
	}
	if l.last != "" {
		request.Header.Set(lastEventID, l.last)
	}
	l.cancel = cancel
	if l.response, err = (&http.Transport{DisableKeepAlives: true, DialContext: l.dial.DialContext}).RoundTrip(request); err != nil {
		l.Error(err)
		return 0
	}
	l.lines = bufio.NewReader(l.response.Body)
	return l.response.StatusCode
}

// leave disconnects, wherever it is.
func (l *listener) leave() {
	if l.cancel != nil {
		l.cancel()
	}
	if l.response != nil {
		l.response.Body.Close()
	}
	l.cancel, l.response = nil, nil
}

// next returns the next event. What is not complete is none.
func (l *listener) next() (message, error) {
	var m message
	id := l.last
	for {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			return message{}, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case line == "\n":
			l.last = id
			if m.data != "" {
				return m, nil
			}
			m = message{}
		case name == "":
			l.comments++
		case name == "id":
			id, m.id = value, value
		case name == "event":
			m.name = value
		case name == "data":
			m.data += value
		case name != "retry":
			l.Errorf("what is %q?", line)
		}
	}
}

// want reads the next events, and compares their names and ids, written name@id, with
// those wanted.
func (l *listener) want(all ...string) []message {
	l.Helper()
	var got []message
	for i, want := range all {
		m, err := l.next()
		if err != nil {
			l.Fatalf("event %d of %v: %v", i, all, err)
		}
		if is := m.name + "@" + m.id; is != want {
			l.Fatalf("event %d is %s %s, want %s", i, is, m.data, want)
		}
		got = append(got, m)
	}
	return got
}

// over reads the end of the response.
func (l *listener) over() {
	l.Helper()
	if m, err := l.next(); !errors.Is(err, io.EOF) {
		l.Errorf("after the end there is %v, %v", m, err)
	}
}

// until reads on to a change of a stream to a version, or a later one, and returns what
// it read.
func (l *listener) until(stream string, version int) []message {
	l.Helper()
	var all []message
	for {
		m, err := l.next()
		if err != nil {
			l.Fatalf("waiting for %s@%d: %v", stream, version, err)
		}
		all = append(all, m)
		if at, _ := m.value("version").(float64); m.name == nameChange && m.value("stream") == stream && int(at) >= version {
			return all
		}
	}
}

// small gives the sockets of a server little room.
func small(s *site, bytes int) {
	s.server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(bytes)
		return ctx
	}
}

// slow gives the socket of a client little room.
func (l *listener) slow() *listener {
	l.dial.Control = func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
		return errors.Join(err, failed)
	}
	return l
}

// worker runs a worker until it is stopped, or the end of the test.
func (s *site) worker(flags ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	var log transcript
	p := &program{app: s.app, out: io.Discard, err: &log, environ: s.environ}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, append([]string{"run"}, flags...)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if code := <-ended; code != exitDone {
			s.Errorf("the worker ended with code %d: %s", code, log.String())
		}
	})
	s.Cleanup(stop)
	return stop
}

// following waits until so many clients are connected.
func (s *site) following(name string, n int) {
	s.Helper()
	// Shorter than clients stay.
	testenv.Wait(s, waitLong/2, func() error {
		if now := testutil.ToFloat64(s.clients.WithLabelValues(name)); int(now) != n {
			return fmt.Errorf("%g clients are connected, want %d", now, n)
		}
		return nil
	})
}

// The metrics of the feeds are there from the beginning.
func TestFeedsMetrics(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newFeeds(t.Context(), nil))
	families, err := r.Gather()
	if err != nil || len(families) != 2 {
		t.Fatal(families, err)
	}
	for _, f := range families {
		if len(f.GetMetric()) != 2 {
			t.Errorf("%s has %d series, want one for each feed", f.GetName(), len(f.GetMetric()))
		}
	}
}
