package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/tracing"
)

// traces are what the program sends to a collector, nil where it sends nothing.
type traces struct {
	*tracing.Tracer
	provider *sdktrace.TracerProvider
}

// flushWithin is how long a program that ends tries to send what it has not sent yet.
const flushWithin = time.Second

// tracesPath is where a collector takes traces.
const tracesPath = "/v1/traces"

// checkTraces checks the URL of a collector. Its errors do not repeat it.
func checkTraces(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("it is a URL such as http://127.0.0.1:4318")
	case u.User != nil || u.RawQuery != "":
		return errors.New("it is a URL without credentials and query: what the collector wants to be shown is given by OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// startTraces begins to send traces where that is asked for. It connects to nothing before
// there is something to send.
func (p *program) startTraces(ctx context.Context) error {
	if p.Traces == "" {
		return nil
	}
	logger := p.newLogger()
	// The library would write to the standard error by itself: headers it cannot read
	// among others, which are secrets.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {
		logger.Warn("something is wrong with the traces: are the OTEL_ variables as they should be?")
	}))
	endpoint := p.Traces
	if u, err := url.Parse(endpoint); err == nil && strings.Trim(u.Path, "/") == "" {
		endpoint = strings.TrimRight(endpoint, "/") + tracesPath
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return usage("%s: %w", p.where("traces"), err)
	}
	version := p.versionView()
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", version.Name), attribute.String("service.version", version.Version)),
		resource.WithFromEnv(), // before which the others count less
	)
	if err != nil {
		return usage("the traces: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithIDGenerator(tracing.IDs{}), sdktrace.WithResource(described),
		sdktrace.WithBatcher(&quietly{SpanExporter: exporter, logger: logger, to: endpoint}),
	)
	p.traces = &traces{tracing.New(provider), provider}
	return nil
}

// endTraces sends what was not sent yet.
func (p *program) endTraces(ctx context.Context) {
	if p.traces == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	if err := await(ctx, func() error { return p.traces.provider.Shutdown(ctx) }); err != nil {
		p.newLogger().Warn("the last traces could not be sent", "within", flushWithin.String())
	}
}

// traced returns a store whose appends are followed, where anything is.
func (p *program) traced(store eventstore.Store) eventstore.Store {
	if p.traces == nil {
		return store
	}
	return p.traces.Store(store)
}

// followed has a worker followed, where anything is.
func (p *program) followed(c projector.WorkerConfig) projector.WorkerConfig {
	if p.traces != nil {
		c.Follower = p.traces
		c.Observer = observers{c.Observer, p.traces}
	}
	return c
}

// quietly tells the log once that a collector takes nothing, and once that it does again.
// Spans that it does not take are dropped.
type quietly struct {
	sdktrace.SpanExporter
	logger *slog.Logger
	to     string
	failed atomic.Bool
}

// ExportSpans implements [sdktrace.SpanExporter].
func (q *quietly) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	if was := q.failed.Swap(err != nil); err != nil && !was {
		q.logger.Warn("traces cannot be sent and are dropped until they can", "to", q.to, "reason", err)
	} else if err == nil && was {
		q.logger.Info("traces are sent again", "to", q.to)
	}
	return nil
}

// headerSecrets returns what is shown to the collector, which nothing may print.
func headerSecrets(environ []string) []string {
	var all []string
	for _, variable := range environ {
		name, headers, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") || !strings.HasSuffix(name, "HEADERS") {
			continue
		}
		for header := range strings.SplitSeq(headers, ",") {
			_, value, _ := strings.Cut(header, "=")
			value = strings.TrimSpace(value)
			if plain, err := url.PathUnescape(value); err == nil {
				all = append(all, plain, strings.TrimPrefix(plain, "Bearer "))
			}
			all = append(all, value)
		}
	}
	return all
}
