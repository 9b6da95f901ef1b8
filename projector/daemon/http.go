package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// server answers by HTTP how a daemon stands, and has it operated. Its life is that of
// the daemon: listen before anything is connected to, so that probes are answered from
// the beginning; open, once the namespace is; watch, once there is a worker; notReady,
// when it was told to stop; end, when all was given back. Where http is off it answers
// nobody, and all of these do nothing but count.
type server struct {
	*program
	logger *slog.Logger
	http   http.Server   // its timeouts may be changed before listen
	slack  time.Duration // how much longer than it may take an answer may take to be written
	token  *[sha256.Size]byte
	hide   *strings.Replacer
	routes []route
	mux    *http.ServeMux
	files  *http.ServeMux    // of what the first has nothing for
	by     map[string]*route // by pattern
	counts *counts
	ready  readiness

	// leaving ends the answers that end with the server.
	leaving context.Context
	leave   context.CancelFunc

	following chan struct{} // has room for the clients of feeds

	isOpen   chan struct{}         // closed once the namespace is open
	opened   atomic.Pointer[space] // nil until then
	feeds    atomic.Pointer[feeds] // the same
	listener net.Listener          // nil where http is off
	served   chan struct{}         // closed when nothing is accepted any more
	ending   sync.Once
}

const (
	httpOff = "off"

	// arriveWithin is how long a request may take to arrive, its header and its body;
	// idleFor is how long a connection is kept for another one.
	headerWithin = 5 * time.Second
	arriveWithin = 15 * time.Second
	idleFor      = 2 * time.Minute
	// writeSlack is how much time a client has to read what was answered at last.
	writeSlack = 5 * time.Second
	// endWithin is how long answers under way may take once the worker has ended.
	endWithin = time.Second

	maxHeader = 64 << 10
)

// checkHTTP checks the setting http.
func checkHTTP(text string) error {
	if text == httpOff {
		return nil
	}
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		return fmt.Errorf("it is an address with a port, like 127.0.0.1:7070, or %s, not %q", httpOff, text)
	}
	return nil
}

// exposed returns an error where others can reach an address, and nobody need show a token.
func (c *config) exposed(ip net.IP) error {
	if ip.IsLoopback() || c.HTTPToken != "" {
		return nil
	}
	return usage("%s: others can reach %s, so that it takes an http-token, which requests must show: %s or http-token in the file of --config has one",
		c.where("http"), c.HTTP, env("http-token"+fileSuffix))
}

func (p *program) newServer(logger *slog.Logger) *server {
	v := &server{program: p, logger: logger, slack: writeSlack, hide: hiding(p.secrets()), served: make(chan struct{}),
		following: make(chan struct{}, feedClients), isOpen: make(chan struct{})}
	v.leaving, v.leave = context.WithCancel(context.Background())
	if p.HTTPToken != "" {
		sum := sha256.Sum256([]byte(p.HTTPToken))
		v.token = &sum
	}
	v.counts = newCounts(p.versionView(), p.Namespace)
	v.mount()
	v.http = http.Server{
		Handler: v, ReadHeaderTimeout: headerWithin, ReadTimeout: arriveWithin, IdleTimeout: idleFor, MaxHeaderBytes: maxHeader,
		// What is asked of no path is guarded as well.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return v
}

// listen begins to answer. Errors are of usage, but for a port that another has now.
func (v *server) listen() error {
	if v.HTTP == httpOff {
		close(v.served)
		return nil
	}
	if err := v.checkFiles(); err != nil {
		return err
	}
	// What is resolved once is what is checked, and listened on.
	address, err := net.ResolveTCPAddr("tcp", v.HTTP)
	if err != nil {
		return usage("%s: %w", v.where("http"), err)
	}
	if err := v.exposed(address.IP); err != nil {
		return err
	}
	v.listener, err = net.ListenTCP("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) && v.from["http"] == "default" {
		// Several daemons on one machine are nothing special, and nobody asked for this
		// port; but probes that count on it ask the other daemon.
		v.logger.Warn("http: the port is taken by another, so a free one is used", "address", address.String(), "setting", env("http"))
		v.listener, err = net.ListenTCP("tcp", &net.TCPAddr{IP: address.IP, Zone: address.Zone})
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fail(exitFailed, "%s: %s is taken: is there another daemon on this machine? --http 127.0.0.1:0 takes a free port, --http %s none", v.where("http"), v.HTTP, httpOff)
	case err != nil:
		return usage("%s: %w", v.where("http"), err)
	}
	v.logger.Info("http is answered", "address", v.listener.Addr().String(), "token", v.token != nil)
	go func() {
		defer close(v.served)
		if err := v.http.Serve(v.listener); !errors.Is(err, http.ErrServerClosed) {
			v.logger.Error("http is not answered any more", "reason", err)
		}
	}()
	return nil
}

// open has the API answer, about the namespace. It is called once at the most.
func (v *server) open(s *space) {
	v.ready.connected(s.client)
	f := newFeeds(v.leaving, s)
	v.counts.ours.MustRegister(f, generationGauges{s.Generations.All})
	v.feeds.Store(f)
	v.opened.Store(s)
	close(v.isOpen)
}

// watch has the worker be among what probes and metrics are about.
func (v *server) watch(w *projector.Worker, log *lease.Log) {
	v.counts.workers.Watch(w, log)
	v.ready.worksWith(w)
}

// notReady has /readyz say from now on that it is not, and why. The rest is answered as
// before.
func (v *server) notReady(reason string) { v.ready.never(reason) }

// end ends what is open: event streams at once, other answers soon. It may be called
// more than once.
func (v *server) end() {
	v.ending.Do(func() {
		v.leave()
		if v.listener == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), endWithin)
		defer cancel()
		if err := v.http.Shutdown(ctx); err != nil {
			_ = v.http.Close()
		}
		<-v.served
		if f := v.feeds.Load(); f != nil {
			f.wait()
		}
	})
}

// hostname returns the host of an address that is listened on, where that is a name.
func hostname(address string) string {
	host, _, _ := net.SplitHostPort(address)
	if host == "" || net.ParseIP(host) != nil {
		return ""
	}
	return host
}

// timedOut reports whether a read took longer than it may.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
