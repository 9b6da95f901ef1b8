package wire

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Conn is a connection lent by a [Pool]. It belongs to one goroutine, which ends its
// use by Release or by Discard. Once the context of the use has ended it is closed, and
// another may be lent in its place, whatever that goroutine does meanwhile.
type Conn struct {
	pool    *Pool
	conn    net.Conn
	guard   *redis.Conn // see guarded
	ctx     context.Context
	unwatch func() bool   // ends the watch over ctx
	sent    chan struct{} // closed once all that was sent has been written; nil where that is so
	idle    time.Time     // when it was released
	ended   sync.Once     // closes it and gives the turn back

	checking sync.Mutex // held while the guard is used or closed

	mu     sync.Mutex // protects failed
	failed error      // why writing failed
}

// lend prepares the connection for a use that ends with ctx.
func (c *Conn) lend(ctx context.Context) {
	c.ctx = ctx
	if ctx.Done() != nil {
		c.unwatch = context.AfterFunc(ctx, c.end)
	}
}

// Send writes commands. As long as replies are outstanding the server may wait for them
// to be read before it reads on, so then it returns at once and writes in the
// background, and where that fails Read says so. The bytes must not be changed before
// written is closed, unless that is nil; it is as soon as all
// replies have come, or Discard has returned.
func (c *Conn) Send(commands []byte, outstanding bool) (written <-chan struct{}, err error) {
	if !outstanding {
		c.awaitSent()
		return nil, c.explain(c.write(commands))
	}
	before, done := c.sent, make(chan struct{})
	c.sent = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		if err := c.write(commands); err != nil {
			c.mu.Lock()
			c.failed = err
			c.mu.Unlock()
			c.conn.Close() // what waits for the replies must not wait on
		}
	}()
	return done, nil
}

func (c *Conn) write(b []byte) error {
	if timeout := c.pool.client.Options().WriteTimeout; timeout > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(b)
	return err
}

// Read implements io.Reader. It fails where nothing arrives for the ReadTimeout of the
// client, and as soon as the context of the use ends.
func (c *Conn) Read(p []byte) (int, error) {
	if timeout := c.pool.client.Options().ReadTimeout; timeout > 0 {
		if err := c.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return 0, c.explain(err)
		}
	}
	n, err := c.conn.Read(p)
	return n, c.explain(err)
}

// explain returns the error behind one that came of closing the connection.
func (c *Conn) explain(err error) error {
	if err == nil {
		return nil
	}
	if ended := c.ctx.Err(); ended != nil {
		return ended
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	return err
}

// Check returns an error where the client has left the server that this connection
// goes to.
//
// A client of Sentinels does so when they name another master, and then closes its
// connections to the old one, which may be cut off from everybody else and still
// answer, with streams that are shorter than those of the new one. This connection it
// does not know. So each comes with one of the client's own, and lives as long as that.
func (c *Conn) Check(ctx context.Context) error {
	if c.guard == nil {
		return nil
	}
	c.checking.Lock()
	err := c.guard.Ping(ctx).Err()
	c.checking.Unlock()
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			return ended
		}
		return fmt.Errorf("redis %s: the client has left this server: %w (%w)", c.conn.RemoteAddr(), net.ErrClosed, err)
	}
	return nil
}

// Release gives the connection back. Every reply must have been read.
func (c *Conn) Release() {
	c.awaitSent()
	if c.unwatch != nil && !c.unwatch() {
		c.end() // or wait for who is at it
		return
	}
	c.unwatch, c.ctx = nil, nil
	c.pool.put(c)
}

// Discard closes the connection, because of an error or with replies unread.
func (c *Conn) Discard() {
	if c.ctx.Err() == nil {
		c.pool.dropIdle() // whatever befell this one may have befallen those
	}
	if c.unwatch != nil {
		c.unwatch()
	}
	c.end()
	c.awaitSent()
}

// end closes the connection for good and gives its turn back. Where the context of the
// use has ended, that is not left to the goroutine that has it: it may be in a function
// that never returns, and others wait for their turns.
func (c *Conn) end() {
	c.ended.Do(func() {
		c.close()
		<-c.pool.turns
	})
}

func (c *Conn) close() {
	c.conn.Close() // first, since it ends what the goroutine that has it may wait for
	if c.guard != nil {
		c.checking.Lock()
		defer c.checking.Unlock()
		c.guard.Close()
	}
}

func (c *Conn) awaitSent() {
	if c.sent != nil {
		<-c.sent
		c.sent = nil
	}
}
