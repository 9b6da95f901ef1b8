package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/metricsdoc"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/generations"
)

// serving is a daemon in the test's process that answers by HTTP.
type serving struct {
	*fixture
	url   string
	token string
	mux   *http.ServeMux
	log   *transcript
	stop  context.CancelFunc
	ended chan int
}

var answering = regexp.MustCompile(`msg="http is answered" address=(\S+)`)

// serve runs a daemon until the end of the test, and waits until it answers.
func (f *fixture) serve(flags ...string) *serving {
	f.Helper()
	ctx, stop := context.WithCancel(f.Context())
	d := &serving{fixture: f, mux: unserved(f.T, new(transcript)).mux, log: new(transcript), stop: stop, ended: make(chan int, 1)}
	var out transcript
	p := &program{app: f.app, out: &out, err: d.log, environ: f.environ}
	args := append([]string{"run"}, flags...)
	if !slices.Contains(flags, "--http") {
		args = append(args, "--http", "127.0.0.1:0")
	}
	go func() { d.ended <- p.run(ctx, args) }()
	f.Cleanup(func() { stop(); d.ended <- <-d.ended })
	testenv.Wait(f, waitLong, func() error {
		if found := answering.FindStringSubmatch(d.log.String()); found != nil {
			d.url = "http://" + found[1]
			return nil
		}
		return fmt.Errorf("it does not answer: %s", d.log.String())
	})
	return d
}

// ready waits until the daemon works.
func (d *serving) ready() *serving {
	d.Helper()
	testenv.Wait(d, waitLong, d.answers("GET", "/readyz", "", http.StatusOK, `"ready": true`))
	return d
}

// request returns a request with what it needs.
func (d *serving) request(method, path, body string) *http.Request {
	d.Helper()
	var of io.Reader
	if body != "" {
		of = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(d.Context()), method, d.url+path, of)
	if err != nil {
		d.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if d.token != "" {
		r.Header.Set("Authorization", "Bearer "+d.token)
	}
	return r
}

// send sends a request, and returns the answer with its body, which has to be as the API
// is described. Connections are not kept, so that none outlives the test.
func (d *serving) send(r *http.Request) (*http.Response, string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitLong,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, "", err
	}
	sent := ""
	if r.GetBody != nil {
		again, _ := r.GetBody()
		text, _ := io.ReadAll(again)
		sent = string(text)
	}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	_, pattern := d.mux.Handler(r)
	if err := asDescribed(r, pattern, sent, answer.StatusCode, kind, string(body)); err != nil {
		return nil, "", fmt.Errorf("the answer to %s %s is not as described: %w: %.2000s", r.Method, r.URL, err, body)
	}
	return answer, string(body), nil
}

// answers returns a condition: that a request is answered with a status and says that.
func (d *serving) answers(method, path, body string, status int, says ...string) func() error {
	return func() error {
		answer, text, err := d.send(d.request(method, path, body))
		if err != nil {
			return err
		}
		return judge(answer, text, status, says...)
	}
}

func judge(answer *http.Response, text string, status int, says ...string) error {
	if answer.StatusCode != status {
		return fmt.Errorf("status %d, want %d: %.2000s", answer.StatusCode, status, text)
	}
	for _, want := range says {
		if !strings.Contains(text, want) {
			return fmt.Errorf("it does not say %q: %.2000s", want, text)
		}
	}
	if kind := answer.Header.Get("Content-Type"); status >= 400 && kind != "application/json" {
		return fmt.Errorf("status %d as %s: %s", status, kind, text)
	}
	return nil
}

// gives is answers as an assertion.
func (d *serving) gives(method, path, body string, status int, says ...string) {
	d.Helper()
	if err := d.answers(method, path, body, status, says...)(); err != nil {
		d.Errorf("%s %s %s: %v", method, path, body, err)
	}
}

// altered sends a request that is altered before, and compares the answer.
func (d *serving) altered(method, path, body string, alter func(*http.Request), status int, says ...string) {
	d.Helper()
	r := d.request(method, path, body)
	alter(r)
	answer, text, err := d.send(r)
	if err == nil {
		err = judge(answer, text, status, says...)
	}
	if err != nil {
		d.Errorf("%s %s with Host %q and %v: %v", method, path, r.Host, r.Header, err)
	}
}

// Who asks by another name, for another origin or without the token gets nothing; probes
// are answered whoever asks.
func TestHTTPGuards(t *testing.T) {
	t.Parallel()
	const token = "c4n4ry-t0ken"
	open := shop(t).with(env("http-hosts") + "=projector.internal").serve().ready()
	closed := shop(t).with(env("http-token") + "=" + token).serve()
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(open.url, "http://"))

	for _, name := range []string{"localhost", "localhost:" + port, "LOCALHOST", "127.0.0.1", "[::1]:80", "[::1]", "127.1.2.3", "projector.internal", "Projector.Internal:" + port} {
		open.altered("GET", "/metrics", "", host(name), http.StatusOK)
	}
	for _, name := range []string{"evil.example", "evil.example:" + port, "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0:" + port, "projector.internal.", "[::2]", "127.0.0.1@evil.example"} {
		for _, path := range []string{"/metrics", "/api/v1/nothing", "/api/v1/openapi.yaml"} {
			open.altered("GET", path, "", host(name), http.StatusMisdirectedRequest, "http-hosts", `"code": 2`)
		}
		open.altered("GET", "/healthz", "", host(name), http.StatusOK, "alive")
		open.altered("GET", "/readyz", "", host(name), http.StatusOK)
	}

	open.altered("GET", "/metrics", "", header("Origin", open.url), http.StatusOK)
	for _, origin := range []string{"https://evil.example", "null", "", "http://localhost:1", "http://127.0.0.1", open.url + ".evil.example", "file://"} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "DELETE"} {
			open.altered(method, "/metrics", "", header("Origin", origin), http.StatusForbidden, "origins")
		}
		open.altered("GET", "/healthz", "", header("Origin", origin), http.StatusOK)
	}
	open.altered("GET", "/metrics", "", header("Origin", open.url, "https://evil.example"), http.StatusForbidden)
	open.altered("POST", "/metrics", "", header("Sec-Fetch-Site", "cross-site"), http.StatusForbidden, "origins")
	for _, site := range []string{"none", "same-origin", ""} {
		open.altered("GET", "/metrics", "", header("Sec-Fetch-Site", site), http.StatusOK)
	}
	for _, site := range []string{"cross-site", "same-site", "something"} {
		open.altered("GET", "/metrics", "", header("Sec-Fetch-Site", site), http.StatusForbidden, "origins")
		open.altered("GET", "/api/v1/streams/cart-1/events", "", header("Sec-Fetch-Site", site), http.StatusForbidden, "origins")
		open.altered("GET", "/healthz", "", header("Sec-Fetch-Site", site), http.StatusOK)
	}
	for _, origin := range []string{"ftp://%s", "//%s", "http://user@%s", "http://%s/path", "http://%s?a=b"} {
		origin = fmt.Sprintf(origin, strings.TrimPrefix(open.url, "http://"))
		open.altered("GET", "/metrics", "", header("Origin", origin), http.StatusForbidden, "origins")
	}
	open.altered("GET", "/metrics", "", header("Origin", strings.Replace(open.url, "http:", "https:", 1)), http.StatusOK)

	for _, authorization := range [][]string{nil, {""}, {"Bearer"}, {"Bearer "}, {"Bearer wrong"}, {"Bearer " + token + "x"}, {"Bearer " + token[:len(token)-1]}, {"Basic " + token}, {token}} {
		closed.altered("GET", "/metrics", "", header("Authorization", authorization...), http.StatusUnauthorized, "http-token")
		closed.altered("GET", "/nothing", "", header("Authorization", authorization...), http.StatusUnauthorized)
		closed.altered("GET", "/healthz", "", header("Authorization", authorization...), http.StatusOK)
	}
	answer, _, err := closed.send(closed.request("GET", "/metrics", ""))
	if err != nil || answer.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("a request without a token is answered with %v, %v", answer, err)
	}
	closed.token = token
	closed.ready().gives("GET", "/metrics", "", http.StatusOK, "projectord_build_info")
	closed.altered("GET", "/metrics", "", header("Authorization", "bearer "+token), http.StatusOK)
	closed.stop()
	<-keep(closed.ended)
	if strings.Contains(closed.log.String(), token) {
		t.Errorf("the log has the token: %s", closed.log.String())
	}
}

// keep returns a channel that what ended is still known of.
func keep(ended chan int) chan int {
	code := <-ended
	ended <- code
	again := make(chan int, 1)
	again <- code
	return again
}

// What is not there, or not like that, is told in JSON.
func TestHTTPErrors(t *testing.T) {
	t.Parallel()
	d := shop(t).serve().ready()
	d.gives("GET", "/nothing", "", http.StatusNotFound, "there is nothing at /nothing", `"code": 5`)
	d.gives("GET", "/", "", http.StatusNotFound)
	d.gives("GET", "/debug/pprof/", "", http.StatusNotFound)
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "BREW"} {
		d.gives(method, "/metrics", "", http.StatusMethodNotAllowed, "GET, HEAD", `"code": 2`)
	}
	answer, _, err := d.send(d.request("PUT", "/metrics", ""))
	if err != nil || answer.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow is %v, %v", answer, err)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	large := strings.Repeat(" ", maxBody+1)
	d.gives("GET", "/metrics", large, http.StatusRequestEntityTooLarge, "larger than 1048576 bytes")
	d.altered("GET", "/metrics", large, func(r *http.Request) { r.ContentLength = -1 }, http.StatusRequestEntityTooLarge)
	d.gives("GET", "/metrics", large[1:], http.StatusOK)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"} {
		d.altered("GET", "/metrics", "{}", func(r *http.Request) { r.Header.Set("Content-Type", kind) }, http.StatusUnsupportedMediaType, "application/json")
	}
	d.altered("GET", "/metrics", "{}", func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, http.StatusOK)
}

func TestHTTPProfiles(t *testing.T) {
	t.Parallel()
	d := shop(t).serve("--http-pprof").ready()
	d.gives("GET", "/debug/pprof/", "", http.StatusOK, "goroutine")
	d.gives("GET", "/debug/pprof/goroutine?debug=1", "", http.StatusOK, "goroutine profile")
	for _, none := range []string{"cmdline", "nothing"} { // the command line may hold a password
		d.gives("GET", "/debug/pprof/"+none, "", http.StatusNotFound, "there is no profile")
	}
}

// A daemon that others could reach takes a token, before anything is connected to.
func TestHTTPRefusesToStart(t *testing.T) {
	t.Parallel()
	// Connecting would end with another code.
	f := bare(t, shopApp(1)).with(env("redis-url") + "=redis://127.0.0.1:1")
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:7070"} {
		f.want(exitUsage, words("run --http "+address), "--http", "others can reach "+address, "http-token")
		f.with(env("http")+"="+address).want(exitUsage, words("run"), "PROJECTORD_HTTP: others can reach")
	}
	token := written(t, "token", "c4n4ry-t0ken\n")
	f.want(exitUnavailable, words("run --http 0.0.0.0:0 --http-token-file "+token), "http is answered")
	f.want(exitUsage, words("run --http 192.0.2.1:0 --http-token-file "+token), "--http: listen tcp 192.0.2.1:0")
	for address, code := range map[string]int{"127.0.0.1:0": exitDone, "[::1]:0": exitDone, "localhost:0": exitDone, "off": exitDone, ":0": exitUsage, "10.0.0.7:0": exitUsage} {
		f.want(code, words("config validate --http "+address))
	}
	f.want(exitUsage, words("run --http 7070"), "--http: it is an address with a port")
	f.want(exitUsage, words("run --http localhost:http2000"), "--http: ")
	f.want(exitUsage, words("run --http-token x"), "would show in the list of processes", "--http-token-file")
	f.with(env("http-token-file")+"="+token).want(exitDone, words("config print"), "http-token         xxxxx")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f.want(exitFailed, words("run --http "+taken.Addr().String()), taken.Addr().String()+" is taken", "another daemon on this machine", "--http 127.0.0.1:0 takes a free port, --http off none")
	f.want(exitUnavailable, words("run --http off"))
	f.want(exitUnavailable, words("run --http localhost:0"), "address=127.0.0.1:")
}

// By the machine's own address it can be called without being told so.
func TestHTTPOwnAddress(t *testing.T) {
	t.Parallel()
	d := shop(t).with(env("http-token")+"=sesame").serve("--http", "0.0.0.0:0")
	d.token = "sesame"
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(d.url, "http://"))
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			d.url = "http://" + net.JoinHostPort(n.IP.String(), port)
			d.gives("GET", "/metrics", "", http.StatusOK)
			d.altered("GET", "/metrics", "", func(r *http.Request) { r.Host = "192.0.2.1" }, http.StatusMisdirectedRequest)
		}
	}
}

// /readyz tells of everything that keeps the daemon from working, and when it is over.
func TestReadiness(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	f := shop(t).with(env("redis-url") + "=" + server.URL())
	server.Stop()
	d := f.serve("--ttl", "1s", "--drain-timeout", "30s")
	d.gives("GET", "/readyz", "", http.StatusServiceUnavailable, `"ready": false`, `"reason": "connecting"`)
	d.gives("GET", "/healthz", "", http.StatusOK, `"alive": true`)
	server.Continue()
	d.ready()

	server.Stop()
	away := d.answers("GET", "/readyz", "", http.StatusServiceUnavailable, `"reason": "redis"`)
	testenv.Wait(t, waitLong, away)
	d.gives("GET", "/healthz", "", http.StatusOK)
	testenv.Wait(t, waitLong, d.answers("GET", "/readyz", "", http.StatusServiceUnavailable, `"reason": "paused"`, `"projection": "carts"`))
	server.Continue()
	d.ready()

	// While it gives back what it holds it answers still, which a Redis that hangs makes long.
	server.Stop()
	d.stop()
	testenv.Wait(t, waitLong, d.answers("GET", "/readyz", "", http.StatusServiceUnavailable, `"reason": "draining"`))
	d.gives("GET", "/healthz", "", http.StatusOK)
	d.gives("GET", "/metrics", "", http.StatusOK, "projectord_worker_state")
	server.Continue()
	if code := <-keep(d.ended); code != exitDone && code != exitLate { // its session may have died
		t.Errorf("it ended with code %d: %s", code, d.log.String())
	}
	if _, _, err := d.send(d.request("GET", "/healthz", "")); err == nil {
		t.Error("it answers after its end")
	}
}

// The metrics of the server have routes for labels and never a path.
func TestHTTPMetrics(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.append("cart-1", "tea", 2)
	d := f.serve().ready()
	d.gives("GET", "/some/where", "", http.StatusNotFound)
	d.gives("BREW", "/metrics", "", http.StatusMethodNotAllowed)
	testenv.Wait(t, waitLong, d.answers("GET", "/metrics", "", http.StatusOK,
		`projectord_http_requests_total{code="404",method="GET",route="none",store="`+f.namespace+`"} 1`,
		`projectord_http_requests_total{code="405",method="other",route="none",store="`+f.namespace+`"} 1`,
		`projectord_http_request_duration_seconds_count{route="/metrics",store="`+f.namespace+`"} `,
		`projectord_build_info{go="go1`, `store="`+f.namespace+`",version="v1.2.3"} 1`,
		`projectord_events_applied_total{generation="1",projection="carts",store="`+f.namespace+`"} 1`,
		`projectord_lag_events{generation="1",projection="items",store="`+f.namespace+`"} 0`,
		`projectord_generation_state{generation="1",projection="carts",state="built",store="`+f.namespace+`"} 1`,
		`projectord_generation_state{generation="1",projection="carts",state="failed",store="`+f.namespace+`"} 0`,
		"go_goroutines", "process_open_fds"))
	if _, text, _ := d.send(d.request("GET", "/metrics", "")); strings.Contains(text, "/some/where") {
		t.Error("a path is a label")
	}
}

// A generation that failed or is paused has no worker, and is told of all the same.
func TestHTTPMetricsOfGenerations(t *testing.T) {
	t.Parallel()
	f := shop(t)
	registry, err := generations.New(testenv.Redis(t), f.namespace)
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]generations.State{"carts": generations.Failed, "items": generations.Paused} {
		_, err := registry.Start(t.Context(), name, 1)
		var r generations.Record
		if err == nil {
			r, err = registry.Add(t.Context(), name, 2, generations.Options{})
		}
		if err == nil {
			err = registry.Set(t.Context(), name, r.Generation, state, "poison", generations.Building)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d := f.serve().ready()
	testenv.Wait(t, waitLong, d.answers("GET", "/metrics", "", http.StatusOK,
		`projectord_generation_state{generation="2",projection="carts",state="failed",store="`+f.namespace+`"} 1`,
		`projectord_generation_state{generation="2",projection="items",state="paused",store="`+f.namespace+`"} 1`,
		`projectord_generation_state{generation="2",projection="items",state="building",store="`+f.namespace+`"} 0`))
}

// The list for operators names the metrics of the server and of its feeds, with their
// labels, and no others.
func TestHTTPMetricsDocs(t *testing.T) {
	t.Parallel()
	var log transcript
	c := unserved(t, &log).counts
	c.count(nil, "GET", 200, time.Second)
	owned := func(name string) bool {
		return slices.ContainsFunc([]string{"projectord_http_", "projectord_sse_", "projectord_build_", "projectord_generation_"}, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	metricsdoc.Check(t, "../../docs/metrics.md", owned, c.requests, c.took, c.build, newFeeds(t.Context(), nil), generationGauges{func(context.Context) (map[string]generations.Projection, error) {
		return map[string]generations.Projection{"carts": {Records: []generations.Record{{Generation: 1}}}}, nil
	}})
}

// The default port is nobody's wish: where another has it, any other will do.
func TestHTTPDefaultPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var log transcript
	v := unserved(t, &log)
	v.HTTP, v.from["http"] = taken.Addr().String(), "default"
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	if v.listener.Addr().String() == taken.Addr().String() {
		t.Error("it listens on what is taken")
	}
	if !strings.Contains(log.String(), `level=WARN msg="http: the port is taken by another`) {
		t.Errorf("it does not say so: %s", log.String())
	}
}

// unserved returns the server of a program that has not begun.
func unserved(t *testing.T, log *transcript) *server {
	t.Helper()
	p := &program{app: shopApp(1), err: log, environ: []string{env("http") + "=127.0.0.1:0"}}
	flags := newRun(p).Flags()
	c, err := load(flags, p.environ)
	if err != nil {
		t.Fatal(err)
	}
	p.config = c
	return p.newServer(p.newLogger())
}

// Who sends slowly, or nothing, is not waited for.
func TestHTTPSlowClients(t *testing.T) {
	t.Parallel()
	var log transcript
	v := unserved(t, &log)
	if h := &v.http; h.ReadHeaderTimeout <= 0 || h.ReadTimeout <= 0 || h.IdleTimeout <= 0 || v.slack <= 0 {
		t.Errorf("it waits for ever: %s, %s, %s, %s", h.ReadHeaderTimeout, h.ReadTimeout, h.IdleTimeout, v.slack)
	}
	v.http.ReadHeaderTimeout, v.http.ReadTimeout, v.http.IdleTimeout = 50*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	for name, c := range map[string]struct{ sent, says string }{
		"nothing":   {"", ""},
		"half":      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", ""},
		"half body": {"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", "HTTP/1.1 405"},
		"slow body": {"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", "HTTP/1.1 408"},
		"idle":      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200"},
	} {
		conn, err := net.Dial("tcp", v.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, c.sent); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(waitLong))
		got, err := io.ReadAll(conn) // until the server closes it
		if err != nil || !strings.HasPrefix(string(got), c.says) || c.says == "" && len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 408") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// A handler that panics costs nobody else anything, and tells the client nothing.
func TestHTTPPanic(t *testing.T) {
	t.Parallel()
	var log transcript
	v := unserved(t, &log)
	v.mux.HandleFunc("GET /thirteen", func(http.ResponseWriter, *http.Request) { panic("sesame") })
	v.by["GET /thirteen"] = &route{pattern: "/thirteen"}
	v.mux.HandleFunc("GET /half", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.Write(bytes.Repeat([]byte("half"), 4<<10))
		panic("sesame")
	})
	v.by["GET /half"] = &route{pattern: "/half"}
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	d := &serving{fixture: &fixture{T: t}, mux: http.NewServeMux(), url: "http://" + v.listener.Addr().String()}
	answer, text, err := d.send(d.request("GET", "/thirteen", ""))
	var body errorView
	if err != nil || answer.StatusCode != http.StatusInternalServerError || json.Unmarshal([]byte(text), &body) != nil || body.Code != exitFailed || strings.Contains(text, "sesame") {
		t.Errorf("got %v, %q, %v", answer, text, err)
	}
	if said := log.String(); !strings.Contains(said, "a handler panicked") || !strings.Contains(said, "sesame") || !strings.Contains(said, "http_test.go") {
		t.Errorf("the log says %s", said)
	}
	if _, text, err := d.send(d.request("GET", "/half", "")); err == nil {
		t.Errorf("half an answer looks like a whole one: %d bytes", len(text))
	}
	d.gives("GET", "/healthz", "", http.StatusOK)
}

// Who does not read holds up nobody: the answer ends.
func TestHTTPUnreadAnswers(t *testing.T) {
	t.Parallel()
	v := unserved(t, new(transcript))
	v.slack = 50 * time.Millisecond
	failed := make(chan error, 1)
	v.mux.HandleFunc("GET /endless", func(w http.ResponseWriter, _ *http.Request) {
		for piece := make([]byte, 64<<10); ; {
			if _, err := w.Write(piece); err != nil {
				failed <- err
				return
			}
		}
	})
	v.by["GET /endless"] = &route{pattern: "/endless", within: 50 * time.Millisecond}
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	conn, err := net.Dial("tcp", v.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if !timedOut(err) {
			t.Errorf("the answer ended with %v", err)
		}
	case <-time.After(waitLong):
		t.Error("it is written to for ever")
	}
}

// What an error or a reason quotes is told without secrets.
func TestHTTPHidesSecrets(t *testing.T) {
	t.Parallel()
	p := unserved(t, new(transcript)).program
	p.HTTPToken = "sesame"
	v := p.newServer(p.newLogger())
	out := httptest.NewRecorder()
	v.fail(out, httptest.NewRequest("GET", "/", nil), errors.New("dial redis://u:sesame@h"))
	if got := out.Body.String(); !strings.Contains(got, "redis://u:xxxxx@h") || strings.Contains(got, "sesame") {
		t.Errorf("got %s", got)
	}
}

// However many ask whether it is ready, the Redis is asked once in a while.
func TestReadinessAsksSeldom(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	var d readiness
	d.connected(client)
	begin := time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				d.look(t.Context())
			}
		})
	}
	all.Wait()
	stats, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	var pings int
	if _, after, found := strings.Cut(stats, "cmdstat_ping:calls="); found {
		fmt.Sscan(strings.SplitN(after, ",", 2)[0], &pings)
	}
	if most := 1 + int(time.Since(begin)/pingEvery); pings < 1 || pings > most {
		t.Errorf("it was asked %d times, want %d at the most", pings, most)
	}
}

// Who waits when the daemon ends is told so; what nobody waits for any more is no failure.
func TestHTTPCutAnswers(t *testing.T) {
	t.Parallel()
	v := unserved(t, new(transcript))
	begun := make(chan bool, 1)
	v.mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		<-r.Context().Done()
		v.fail(w, r, r.Context().Err())
	})
	v.by["GET /wait"] = &route{pattern: "/wait", within: longWithin}
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	d := &serving{fixture: &fixture{T: t}, mux: http.NewServeMux(), url: "http://" + v.listener.Addr().String()}

	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, _, err := d.send(d.request("GET", "/wait", "").WithContext(ctx))
		gone <- err
	}()
	<-begun
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	testenv.Wait(t, waitLong, d.answers("GET", "/metrics", "", http.StatusOK, `{code="499",method="GET",route="/wait",store="projectord"} 1`))

	told := make(chan error, 1)
	go func() {
		told <- d.answers("GET", "/wait", "", http.StatusServiceUnavailable, "the daemon ends", `"code": 6`)()
	}()
	<-begun
	v.end()
	if err := <-told; err != nil {
		t.Error(err)
	}
}

// Event streams have no limit of time, and end with the server.
func TestHTTPEndsStreams(t *testing.T) {
	t.Parallel()
	var log transcript
	v := unserved(t, &log)
	v.http.ReadTimeout = 50 * time.Millisecond
	v.feeds.Store(newFeeds(v.leaving, &space{}))
	close(v.isOpen)
	to := &route{pattern: "/stream", within: untilEnd, send: func(_ *feeds, w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		control := http.NewResponseController(w)
		io.WriteString(w, "begun\n")
		if err := control.Flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done(): // not by itself
		case <-time.After(4 * v.http.ReadTimeout):
			io.WriteString(w, "later\n")
			if err := control.Flush(); err != nil {
				return err
			}
			<-ctx.Done()
		}
		return ctx.Err()
	}}
	v.mux.Handle("GET /stream", v.events(to))
	v.by["GET /stream"] = to
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + v.listener.Addr().String() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for _, want := range []string{"begun", "later"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
	}
	begin := time.Now()
	v.end()
	if lines.Scan() || time.Since(begin) > endWithin {
		t.Errorf("the stream goes on: %q after %s", lines.Text(), time.Since(begin))
	}
}

// Who follows before the namespace is open is held until it is, because a browser does not
// come back after a refusal; and there is an end to how many do.
func TestHTTPHoldsFollowers(t *testing.T) {
	t.Parallel()
	f := bare(t, shopApp(1)).with(env("redis-url") + "=" + testenv.RedisURL(t))
	s := f.space(t)
	v := unserved(t, new(transcript))
	v.http.ReadTimeout = 20 * time.Millisecond
	v.following = make(chan struct{}, 2)
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	url := "http://" + v.listener.Addr().String()
	statuses := make(chan int, 2)
	for _, path := range []string{streamPath("cart-1"), cartChanges} {
		l := &listener{T: t, stay: waitLong, url: url + "/api/v1/" + path}
		t.Cleanup(l.leave)
		go func() { statuses <- l.connect() }()
	}
	begin := time.Now()
	testenv.Wait(t, waitLong, func() error {
		if n := len(v.following); n < 2 || time.Since(begin) < 5*v.http.ReadTimeout {
			return fmt.Errorf("%d clients are held", n)
		}
		return nil
	})
	d := &serving{fixture: f, mux: v.mux, url: url}
	answer, text, err := d.send(d.request("GET", "/api/v1/"+cartChanges, ""))
	if err == nil {
		err = judge(answer, text, http.StatusServiceUnavailable, "2 clients follow already", `"code": 6`)
	}
	if err != nil || answer.Header.Get("Retry-After") == "" {
		t.Errorf("the third is answered with %v: %v", answer, err)
	}
	v.open(s)
	for range 2 {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("once it is open the status is %d", status)
		}
	}
}

// Tokens that no header can show, and hosts that no request can name, are refused before a
// daemon locks everybody out.
func TestHTTPAccessSettings(t *testing.T) {
	t.Parallel()
	f := bare(t, shopApp(1))
	for _, token := range []string{" ", "\t \n", " c4n4ry", "c4n4ry \n", "c4n 4ry", "c4n\n4ry", "c4n4ry\u00a0", "c4n\x004ry"} {
		path := written(t, "token", token)
		got := f.with(env("http-token-file")+"="+path).want(exitUsage, words("config validate"), "http-token has spaces")
		if strings.Contains(got, "4ry") {
			t.Errorf("it tells the token: %s", got)
		}
	}
	f.with(env("http-token-file")+"="+written(t, "token", "c4n4ry\r\n")).want(exitDone, words("config validate"))
	for _, host := range []string{"Example.com:443", "[::5]", "[::5]:80", "https://foo.com", "foo.com/", "*", "*.foo.com", "user@foo.com", "fe80::1%eth0"} {
		f.want(exitUsage, append(words("config validate --http-hosts"), host), "http-hosts has", "without scheme, port or brackets")
	}
	f.want(exitDone, words("config validate --http-hosts Example.com,::5,10.0.0.7,localhost"))
	d := shop(t).with(env("http-hosts") + "=Example.com,::5").serve()
	for _, host := range []string{"example.com:443", "[::5]:80", "[::5]"} {
		d.altered("GET", "/metrics", "", func(r *http.Request) { r.Host = host }, http.StatusOK)
	}
}

// A path that is not clean, and the server as a whole, are nothing there is, and are guarded
// as everything is.
func TestHTTPPaths(t *testing.T) {
	t.Parallel()
	d := shop(t).serve("--http-pprof")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitLong,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range []struct {
		method, path, host string
		status             int
	}{
		{"GET", "//healthz", "", http.StatusNotFound},
		{"GET", "//healthz", "evil.example", http.StatusMisdirectedRequest},
		{"GET", "/api/v1//streams", "", http.StatusNotFound},
		{"GET", "/api/./v1/streams", "", http.StatusNotFound},
		{"GET", "/nothing/../healthz", "", http.StatusNotFound},
		{"GET", "/debug/pprof", "", http.StatusNotFound},
		{"GET", "/debug/pprof/", "", http.StatusOK},
		{"OPTIONS", "*", "", http.StatusNotFound},
		{"OPTIONS", "*", "evil.example", http.StatusMisdirectedRequest},
	} {
		r := d.request(c.method, "", "")
		r.URL.Opaque, r.Host = c.path, c.host
		if strings.HasPrefix(c.path, "/") {
			r.URL.Opaque, r.URL.Path = "", c.path
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err == nil {
			err = judge(answer, string(body), c.status)
		}
		if err != nil {
			t.Errorf("%s %s of %q: %v", c.method, c.path, c.host, err)
		}
	}
}
