// Package embedded runs a Redis server inside the process, for the demo, for
// trying things out and for fast tests. It keeps everything in memory and loses
// it on Close; it is not a server to put real events in.
//
// The server is miniredis, which knows streams and Lua but not every command;
// code that has to run on it uses only what it and Redis have in common.
package embedded

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

const (
	// tick is how often keys are made to age.
	tick = 10 * time.Millisecond

	// share bounds the cost of ageing: it visits every key under the lock of the
	// server, so with many keys it runs less often, taking at most 1/share of the time.
	share = 20
)

// Server is a Redis server in this process, listening on 127.0.0.1 only.
type Server struct {
	redis *miniredis.Miniredis
	close sync.Once
	stop  chan struct{}
	done  chan struct{} // closed when the ageing goroutine has returned
}

// Start runs a new, empty server on a free port. The caller closes it.
func Start() (*Server, error) {
	redis, err := miniredis.Run()
	if err != nil {
		return nil, fmt.Errorf("embedded: failed to start the server: %w", err)
	}
	s := &Server{redis: redis, stop: make(chan struct{}), done: make(chan struct{})}
	go s.age()
	return s, nil
}

// Addr returns the host and port clients connect to.
func (s *Server) Addr() string { return s.redis.Addr() }

// URL returns the address in the form redis.ParseURL reads.
func (s *Server) URL() string { return "redis://" + s.redis.Addr() }

// Close disconnects all clients and drops all data. Closing again does nothing.
func (s *Server) Close() {
	s.close.Do(func() {
		close(s.stop)
		<-s.done
		s.redis.Close()
	})
}

// age makes time to live run down with the wall clock, which miniredis does not
// do by itself. (Its ClockTTL option does, but visits every key at every command.)
//
// A key ages by whole ticks, so it may expire up to a tick early: the server
// cannot tell a key set just now from one set just after the last tick.
func (s *Server) age() {
	defer close(s.done)
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for last := time.Now(); ; {
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		start := time.Now()
		s.redis.FastForward(start.Sub(last))
		last = start
		timer.Reset(max(tick, share*time.Since(start)))
	}
}
