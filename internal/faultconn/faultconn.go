// Package faultconn breaks network connections on purpose, at a chosen byte, so
// that tests can show what a client does when a reply is lost or torn.
package faultconn

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
)

// DialFunc opens a connection. It is the type of the Dialer option of go-redis
// and of the DialFunc option of pgx.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// A Line is the network between a client and its server. Connections dialled
// through it work normally until it is told to cut them. The zero Line is ready
// to use, and safe for concurrent use.
type Line struct {
	mu        sync.Mutex // protects all below, and the fields of conn that say so
	armed     int        // generation of the last CutAfter
	after     int        // bytes each connection may still deliver once armed
	times     int        // connections still to be cut
	delivered int
	cuts      int
}

// Dialer returns a dialer whose connections run over this line. They are opened
// with next, or with a plain net.Dialer when next is nil.
func (l *Line) Dialer(next DialFunc) DialFunc {
	if next == nil {
		next = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		inner, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: inner, line: l}, nil
	}
}

// CutAfter arms the line: each of the next times connections that receive
// something, counted from now, delivers exactly n bytes of it to the client and
// is then closed, after which its reads and writes fail with ECONNRESET.
//
// The bytes of a handshake count too, so a test that aims at one reply makes a
// round trip on the connection before it arms the line. With n = 0 the reply is
// dropped whole: the server has answered, and the client never learns what.
//
// CutAfter replaces an earlier one and sets Delivered and Cuts to zero. With
// times = 0 it disarms the line.
func (l *Line) CutAfter(n, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed++
	l.after, l.times = n, times
	l.delivered, l.cuts = 0, 0
}

// Delivered returns how many bytes the client has read since the last CutAfter,
// over all connections.
func (l *Line) Delivered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delivered
}

// Cuts returns how many connections were cut since the last CutAfter.
func (l *Line) Cuts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts
}

type conn struct {
	net.Conn
	line *Line

	// Protected by line.mu.
	armed  int  // generation of the CutAfter that chose this connection
	budget int  // bytes it may still deliver, if chosen
	cut    bool // closed by the line
}

// admit says how many of n bytes just received reach the client, and whether
// the connection ends there.
func (c *conn) admit(n int) (keep int, cut bool) {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if n > 0 && c.armed != l.armed && l.times > 0 {
		c.armed, c.budget = l.armed, l.after
		l.times--
	}
	// Zero is the generation of a line that was never armed.
	if chosen := c.armed == l.armed && l.armed > 0; chosen && n > 0 && n >= c.budget {
		n = c.budget
		c.cut = true
		l.cuts++
	} else if chosen {
		c.budget -= n
	}
	l.delivered += n
	return n, c.cut
}

// Read decides after the fact what the client gets to see: a connection that is
// already waiting for a reply when the line is armed is cut all the same.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	keep, cut := c.admit(n)
	if !cut {
		return keep, err
	}
	c.Conn.Close()
	if keep > 0 {
		return keep, nil
	}
	return 0, c.reset("read")
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, net.ErrClosed) && c.wasCut() {
		err = c.reset("write")
	}
	return n, err
}

// SyscallConn lets a pool notice that an idle connection was cut, as it would
// notice a connection that the network broke.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if inner, ok := c.Conn.(syscall.Conn); ok {
		return inner.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func (c *conn) wasCut() bool {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.cut
}

func (c *conn) reset(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: syscall.ECONNRESET}
}
