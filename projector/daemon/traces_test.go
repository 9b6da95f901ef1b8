package daemon

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/projectord/projectord/internal/testenv"
)

// sent is a span that a process has sent.
type sent struct {
	name, trace, id, parent string
	service, environment    string
	attributes              map[string]string
	links                   []string
	begin, end              uint64
}

// receiver takes traces as a collector does.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex // guards the rest
	spans    []sent
	requests []*http.Request
}

func receive(t *testing.T) *receiver {
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if err := r.take(request); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(request *http.Request) error {
	var body io.Reader = request.Body
	if request.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = unzipped
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var traces collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(text, &traces); err != nil {
		return fmt.Errorf("%s: %w", request.URL, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
	for _, of := range traces.ResourceSpans {
		resource := texts(of.Resource.Attributes)
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				one := sent{
					name: s.Name, trace: hex.EncodeToString(s.TraceId), id: hex.EncodeToString(s.SpanId), parent: hex.EncodeToString(s.ParentSpanId),
					service: resource["service.name"], environment: resource["deployment.environment"],
					attributes: texts(s.Attributes), begin: s.StartTimeUnixNano, end: s.EndTimeUnixNano,
				}
				for _, l := range s.Links {
					one.links = append(one.links, hex.EncodeToString(l.SpanId))
				}
				r.spans = append(r.spans, one)
			}
		}
	}
	return nil
}

func texts(attributes []*common.KeyValue) map[string]string {
	all := make(map[string]string)
	for _, a := range attributes {
		all[a.Key] = a.Value.GetStringValue()
	}
	return all
}

// in returns the spans of a trace.
func (r *receiver) in(trace string) []sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.spans), func(s sent) bool { return s.trace != trace })
}

// named returns the first span of a name.
func (r *receiver) named(name string) (sent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, s := range r.spans {
		if names = append(names, s.name); s.name == name {
			return s, nil
		}
	}
	return sent{}, fmt.Errorf("there is no span %s among %v", name, names)
}

const traceCanary = "canary-31c5e7"

// What one process appends and another projects is one trace, at the collector when both
// have ended, and what the collector wants to be shown is shown to nobody else.
func TestTraces(t *testing.T) {
	t.Parallel()
	r := receive(t)
	f := shop(t).with(env("traces")+"="+r.URL,
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20"+traceCanary, "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=night")
	worker := f.start(words("run --name blue")...)
	appending := f.start("streams", "append", "cart-1", "--type", "added", "--data", `{"item":"tea","qty":2}`, "--correlation", "order-7")
	appending.wantCode(exitDone)
	testenv.Wait(t, waitLong, both(f.says("tea", "get", "carts", "1"), f.says("2", "get", "items", "tea")))
	worker.signal(syscall.SIGTERM)
	worker.wantCode(exitDone)

	appended, err := r.named("append cart")
	if err != nil {
		t.Fatal(err)
	}
	below := make(map[string][]string) // names by their parents
	var begun uint64
	for _, s := range r.in(appended.trace) {
		below[s.parent] = append(below[s.parent], s.name)
		if s.service != "shop" || s.environment != "night" {
			t.Errorf("%s is of service %q in %q", s.name, s.service, s.environment)
		}
		if strings.HasPrefix(s.name, "project ") && !slices.Equal(s.links, []string{appended.id}) {
			t.Errorf("%s has the links %v; the append is %s", s.name, s.links, appended.id)
		}
		if s.name == "commit" {
			begun = max(begun, s.begin)
		}
	}
	if begun < appended.begin {
		t.Errorf("a commit began at %d, the append at %d", begun, appended.begin)
	}
	slices.Sort(below[""])
	if got := below[""]; !slices.Equal(got, []string{"append cart", "project carts", "project items"}) {
		t.Errorf("the trace has %v", got)
	}
	delete(below, "")
	for _, stages := range below {
		if !slices.Equal(stages, []string{"claim", "load", "fold", "commit"}) && !slices.Equal(stages, []string{"claim", "fold", "commit"}) {
			t.Errorf("below one are %v", stages)
		}
	}
	if len(below) != 2 {
		t.Errorf("below the spans of projections is %v", below)
	}
	if batch, err := r.named("batch carts"); err != nil || batch.trace == appended.trace {
		t.Errorf("the batch is in the trace of an event (%v)", err)
	}
	for _, request := range r.requests {
		if request.URL.Path != tracesPath || request.Header.Get("Authorization") != "Bearer "+traceCanary {
			t.Errorf("%s was shown %q", request.URL, request.Header.Get("Authorization"))
		}
	}
	if log := worker.log.String() + appending.log.String(); strings.Contains(log, traceCanary) {
		t.Errorf("the log has what is for the collector: %s", log)
	}
}

// Without the setting nothing is sent, whatever else there is.
func TestTracesOff(t *testing.T) {
	t.Parallel()
	r := receive(t)
	f := shop(t).with("OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL, "OTEL_TRACES_EXPORTER=otlp")
	f.start("streams", "append", "cart-1", "--type", "added", "--data", `{"item":"tea","qty":2}`, "--correlation", "order-7").wantCode(exitDone)
	if len(r.requests) > 0 {
		t.Errorf("%d requests came", len(r.requests))
	}
}

// A collector that is out of reach costs a line of the log and nothing else.
func TestTracesUnreachable(t *testing.T) {
	t.Parallel()
	f := shop(t).with(env("traces")+"=http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY=10")
	p := f.start(words("run --name blue")...)
	f.append("cart-1", "tea", 2)
	testenv.Wait(t, waitLong, f.says("tea", "get", "carts", "1"))
	p.saying("traces cannot be sent")
	f.append("cart-1", "mug", 1)
	testenv.Wait(t, waitLong, f.says("mug", "get", "carts", "1"))
	p.signal(syscall.SIGTERM)
	p.wantCode(exitDone)
	if n := strings.Count(p.log.String(), "cannot be sent"); n != 1 {
		t.Errorf("%d lines are about traces: %s", n, p.log.String())
	}
}

// One that does not answer is not waited for when the worker ends.
func TestTracesHang(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(over) })
	f := shop(t).with(env("traces") + "=" + server.URL)
	p := f.start(words("run --name blue")...)
	f.append("cart-1", "tea", 2)
	testenv.Wait(t, waitLong, f.says("tea", "get", "carts", "1"))
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	p.wantCode(exitDone)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	p.saying("the last traces could not be sent")
}

func TestTracesRefused(t *testing.T) {
	t.Parallel()
	f := shop(t)
	for _, url := range []string{"127.0.0.1:4318", "ftp://127.0.0.1", "http://", "http://shop:" + traceCanary + "@127.0.0.1", "http://127.0.0.1?token=" + traceCanary} {
		r := f.with(env("traces") + "=" + url).call("status")
		if r.code != exitUsage || !strings.Contains(r.err, "PROJECTORD_TRACES: it is a URL") || strings.Contains(r.err, traceCanary) {
			t.Errorf("%s: code %d: %s", url, r.code, r.err)
		}
	}
	// The library cannot read these headers, and does not say them.
	p := f.with(env("traces")+"=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS="+traceCanary).start("status")
	p.wantCode(exitDone)
	if strings.Contains(p.log.String(), traceCanary) {
		t.Errorf("it says %s", p.log.String())
	}
}
