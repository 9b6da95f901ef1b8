package chaos

import (
	"bytes"
	"context"
	"net"
	"syscall"

	"github.com/projectord/projectord/internal/faultconn"
)

// wire is a connection of a worker with points on it.
type wire struct {
	net.Conn
	s      *saboteur
	before func(sent []byte) Point // the point before what is going to be sent, if any
	after  func(sent []byte) Point // the point after it
	intake bool                    // it reads pointers

	awaiting bool // a reply with pointers; of the goroutine that has the connection
}

// dialer returns a dialer of such connections.
func (w wire) dialer(next faultconn.DialFunc) faultconn.DialFunc {
	if next == nil {
		next = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		inner, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := w
		c.Conn = inner
		return &c, nil
	}
}

func (w *wire) at(choose func([]byte) Point, sent []byte) error {
	if choose == nil {
		return nil
	}
	if p := choose(sent); p != "" && w.s.at(p, nil) {
		w.Conn.Close()
		return &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return nil
}

// Write implements [net.Conn].
func (w *wire) Write(p []byte) (int, error) {
	if err := w.at(w.before, p); err != nil {
		return 0, err
	}
	n, err := w.Conn.Write(p)
	if err != nil {
		return n, err
	}
	if w.intake && bytes.Contains(p, []byte("xreadgroup")) {
		w.awaiting = true
	}
	// Where the connection breaks after a write, that shows when the reply is read.
	w.at(w.after, p)
	return n, nil
}

// Read implements [net.Conn].
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 && w.awaiting {
		w.awaiting = false
		if !bytes.HasPrefix(p[:n], []byte("*-1")) && (p[0] == '*' || p[0] == '%') {
			w.s.at(AfterPointers, nil)
		}
	}
	return n, err
}

// SyscallConn lets a pool look whether the connection is still good.
func (w *wire) SyscallConn() (syscall.RawConn, error) {
	if inner, ok := w.Conn.(syscall.Conn); ok {
		return inner.SyscallConn()
	}
	return nil, syscall.EINVAL
}

// postgresWire is what a worker reaches Postgres by.
func postgresWire(s *saboteur) faultconn.DialFunc {
	point := func(p Point) func([]byte) Point {
		return func(sent []byte) Point {
			if bytes.Contains(sent, []byte("commit\x00")) {
				return p
			}
			return ""
		}
	}
	return wire{s: s, before: point(BeforeCOMMIT), after: point(AfterCOMMIT)}.dialer(nil)
}

// sinkWire is what a worker commits to Redis by, and does nothing else: every script
// is a commit.
func sinkWire(s *saboteur) faultconn.DialFunc {
	return wire{s: s, after: func(sent []byte) Point {
		if bytes.Contains(sent, []byte("evalsha")) {
			return AfterScript
		}
		return ""
	}}.dialer(nil)
}

// workWire is what a worker does the rest by. Replies can be cut off there.
func workWire(s *saboteur, line *faultconn.Line) faultconn.DialFunc {
	return wire{s: s, intake: true}.dialer(line.Dialer(nil))
}
