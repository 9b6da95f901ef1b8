package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// feeds tell clients of a server what happens, by server-sent events: what is appended
// to a stream, and what changes in a read model. There is one of it in a process.
//
// A client has the goroutine of its request and a place where it stands, and nothing else:
// nobody fills a queue for it. Woken when there may be something new, it reads on from its
// place, and writes, for which each piece has a deadline. So a client that does not read
// holds up itself alone, and is dropped; it goes on where it stood when it comes back.
// What is looked at for all of them together is a [lookout]'s. None holds a connection to
// Redis while it waits or writes.
//
// events and changes answer requests. They return an error where nothing was written, for
// the server to answer with, and nil when everything was told that is.
type feeds struct {
	ctx   context.Context
	space *space
	// keepAlive is after how long without anything to tell a client gets a comment, so
	// that it, and what is between, see that the connection lives.
	keepAlive time.Duration
	// patience is how long a client may take for each piece of what is written to it.
	patience time.Duration
	// every is how often it is looked whether there is something new.
	every time.Duration

	once    sync.Once // begins the lookouts
	running sync.WaitGroup
	reads   chan struct{} // one for each client that may read now
	heads   *lookout[eventstore.StreamID, eventstore.StreamHead]
	newest  *lookout[int, lease.EntryID]
	active  *lookout[string, projector.Generation]

	mu        sync.Mutex            // guards standings
	standings map[string]*standings // by group, as long as somebody is told of it

	clients *prometheus.GaugeVec
	dropped *prometheus.CounterVec
}

const (
	feedEvents  = "events"
	feedChanges = "changes"
)

const (
	// feedReads is how many clients read at a time, so that others get at the
	// connections too.
	feedReads = 8
	// lookWithin bounds what is asked of a server, which may hang.
	lookWithin = 5 * time.Second
	// placeWithin bounds what is asked before a request is answered, which it is
	// without that where a server is away.
	placeWithin = time.Second
	// feedRetry is how many milliseconds a browser waits before it connects again.
	feedRetry = "1000"
	// pieceBytes is how much of what is written has a deadline of its own: little, so
	// that only who reads next to nothing misses it.
	pieceBytes = 32 << 10
)

// newFeeds returns the feeds of a namespace. They end with ctx: all clients are left at
// once, and wait returns soon after.
func newFeeds(ctx context.Context, s *space) *feeds {
	f := &feeds{
		ctx: ctx, space: s, keepAlive: 15 * time.Second, patience: 10 * time.Second, every: 100 * time.Millisecond,
		reads: make(chan struct{}, feedReads), standings: make(map[string]*standings),
		clients: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "projectord_sse_clients", Help: "Clients that follow a feed of server-sent events now.",
		}, []string{"feed"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "projectord_sse_dropped_total", Help: "Clients of a feed that were dropped because they did not read.",
		}, []string{"feed"}),
	}
	for range feedReads {
		f.reads <- struct{}{}
	}
	for _, name := range []string{feedEvents, feedChanges} {
		f.clients.WithLabelValues(name)
		f.dropped.WithLabelValues(name)
	}
	return f
}

// wait blocks until everything has ended that looks for the clients.
func (f *feeds) wait() { f.running.Wait() }

// begin makes the lookouts, once.
func (f *feeds) begin() {
	f.once.Do(func() {
		f.heads = newLookout(f, f.headsOf)
		f.newest = newLookout(f, f.space.Log.Newest)
		f.active = newLookout(f, f.activeOf)
	})
}

// headsOf returns the heads of streams. One that is damaged counts as none: whoever
// follows that stream finds out for itself.
func (f *feeds) headsOf(ctx context.Context, streams []eventstore.StreamID) ([]eventstore.StreamHead, error) {
	heads, _, err := f.space.store.Heads(ctx, streams)
	return heads, err
}

// head returns the head of a stream.
func (f *feeds) head(ctx context.Context, stream eventstore.StreamID) (eventstore.StreamHead, error) {
	heads, failed, err := f.space.store.Heads(ctx, []eventstore.StreamID{stream})
	if err == nil && failed != nil {
		err = failed[0]
	}
	if err != nil {
		return eventstore.StreamHead{}, err
	}
	return heads[0], nil
}

// activeOf returns the generations that readers see; 0 where a projection never ran.
func (f *feeds) activeOf(ctx context.Context, names []string) ([]projector.Generation, error) {
	seen := make([]projector.Generation, len(names))
	for i, name := range names {
		g, err := f.space.Generations.Active(ctx, name)
		if err != nil && !errors.Is(err, generations.ErrNotStarted) {
			return nil, err
		}
		seen[i] = g
	}
	return seen, nil
}

// Describe implements [prometheus.Collector].
func (f *feeds) Describe(descs chan<- *prometheus.Desc) {
	f.clients.Describe(descs)
	f.dropped.Describe(descs)
}

// Collect implements [prometheus.Collector].
func (f *feeds) Collect(metrics chan<- prometheus.Metric) {
	f.clients.Collect(metrics)
	f.dropped.Collect(metrics)
}

// follower is a client that follows a feed. All but poke is for its goroutine alone.
type follower struct {
	*feeds
	ctx      context.Context
	w        http.ResponseWriter
	control  *http.ResponseController
	wake     chan struct{} // has room for one: there may be something new
	tick     *time.Ticker  // of keep-alives
	out      bytes.Buffer  // what is to be written
	unmarked string        // where the client stands, if it was not told; empty if it was
	trouble  *backoff.ExponentialBackOff
	failed   error // to write, after which nothing else succeeds

	mu   sync.Mutex // guards over, and deadlines against it
	over bool       // the response is not to be waited for any more
}

// errEnded is what a feed returns that has told everything there is.
var errEnded = errors.New("the feed has ended")

// feed is what a client is told.
type feed interface {
	// attach gives it the client, detach takes it away.
	attach(*follower)
	detach()
	// tell tells what comes next, and reports whether there is more to tell at once. The
	// error is errEnded after the last of all; after any other it is tried again.
	tell() (more bool, err error)
}

// follow answers a request: it holds the response open and has the client told until there
// is nothing more to tell, the client is gone, or the feeds end.
func (f *feeds) follow(w http.ResponseWriter, r *http.Request, name string, what feed) {
	f.begin()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := &follower{
		feeds: f, ctx: ctx, w: w, control: http.NewResponseController(w), wake: make(chan struct{}, 1),
		tick: time.NewTicker(f.keepAlive), trouble: backoff.NewExponentialBackOff(),
	}
	c.trouble.InitialInterval, c.trouble.MaxInterval = f.every, lookSlowly
	defer c.tick.Stop()
	stop := context.AfterFunc(f.ctx, func() {
		cancel()
		c.leave()
	})
	defer stop()
	defer c.close()
	f.clients.WithLabelValues(name).Inc()
	defer f.clients.WithLabelValues(name).Dec()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would keep back what is written
	if r.ProtoMajor == 1 {
		header.Set("Connection", "close") // the deadlines are not for other requests
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	// A server's deadline for reading requests would end this one.
	_ = c.control.SetReadDeadline(time.Time{})
	c.out.WriteString("retry: " + feedRetry + "\n\n")
	what.attach(c)
	defer what.detach()
	err := c.write()
	for err == nil {
		err = c.turn(what)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && f.ctx.Err() == nil {
		f.dropped.WithLabelValues(name).Inc()
	}
}

// turn tells once, and waits until it is to be done again. The error is one that ends it.
func (c *follower) turn(what feed) error {
	more, err := what.tell()
	var later <-chan time.Time
	switch {
	case c.write() != nil:
		return c.failed
	case errors.Is(err, errEnded):
		return err
	case err != nil:
		// Whatever it is, the client is better off connected: a browser does not come
		// back after a refusal.
		wait := time.NewTimer(c.trouble.NextBackOff())
		defer wait.Stop()
		later = wait.C
	default:
		c.trouble.Reset()
	}
	if more && err == nil {
		return c.ctx.Err()
	}
	return c.await(c.wake, later)
}

// poke wakes the client. It is safe for concurrent use, and does not block.
func (c *follower) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// await waits for one of two things, and keeps the connection alive meanwhile.
func (c *follower) await(what <-chan struct{}, or <-chan time.Time) error {
	for {
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-what:
			return nil
		case <-or:
			return nil
		case <-c.tick.C:
			c.out.WriteString(": keep-alive\n\n")
			if c.unmarked != "" {
				c.mark(c.unmarked)
				c.unmarked = ""
			}
			if err := c.write(); err != nil {
				return err
			}
		}
	}
}

// read does something that asks a server, when it is the client's turn to.
func (c *follower) read(do func(context.Context) error) error {
	if err := c.await(c.reads, nil); err != nil {
		return err
	}
	defer func() { c.reads <- struct{}{} }()
	ctx, cancel := context.WithTimeout(c.ctx, lookWithin)
	defer cancel()
	return do(ctx)
}

// event tells an event. With an empty id the one told last stays the client's.
func (c *follower) event(name, id string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		text, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	if id != "" {
		c.out.WriteString("id: " + id + "\n")
	}
	c.out.WriteString("event: " + name + "\ndata: ")
	c.out.Write(text)
	c.out.WriteString("\n\n")
}

// mark tells the client where it stands, without an event.
func (c *follower) mark(id string) { c.out.WriteString("id: " + id + "\n\n") }

// write writes what is to be written, piece by piece, and waits as long as the client
// has time for each.
func (c *follower) write() error {
	defer c.out.Reset()
	for c.out.Len() > 0 && c.failed == nil {
		if c.failed = c.permit(); c.failed == nil {
			_, c.failed = c.w.Write(c.out.Next(pieceBytes))
		}
		if c.failed == nil {
			c.failed = c.control.Flush()
		}
		c.tick.Reset(c.keepAlive)
	}
	if c.out.Cap() > pieceBytes {
		c.out = bytes.Buffer{} // most clients wait most of the time
	}
	return c.failed
}

// permit gives the next piece its time.
func (c *follower) permit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return context.Canceled
	}
	return c.control.SetWriteDeadline(time.Now().Add(c.patience))
}

// leave has the client be waited for no longer.
func (c *follower) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over = true
		_ = c.control.SetWriteDeadline(time.Now())
	}
}

// close leaves the rest to the server, which ends the connection.
func (c *follower) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over = true
		_ = c.control.SetWriteDeadline(time.Now().Add(c.patience))
	}
}
