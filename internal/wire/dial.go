package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dial returns a connection to the server of a client, of which nothing is unread: of
// the protocol's version 2, in which a server sends nothing that was not asked for.
func dial(ctx context.Context, client *redis.Client) (net.Conn, error) {
	opt := *client.Options()
	dialled := new(capture)
	opt.Dialer = dialled.dialer(opt.Dialer)
	opt.Protocol = 2
	opt.DisableIdentity = true
	opt.ContextTimeoutEnabled = true
	opt.MaxRetries = -1 // whoever reads tries again
	opt.PoolSize, opt.MinIdleConns, opt.MaxIdleConns, opt.MaxActiveConns, opt.PipelinePoolSize = 1, 0, 0, 0, -1
	opt.ReadTimeout, opt.WriteTimeout = asGiven(opt.ReadTimeout), asGiven(opt.WriteTimeout)
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opt.PushNotificationProcessor, opt.ClientSideCache, opt.ClientSideCacheConfig = nil, nil, nil

	handshake := redis.NewClient(&opt)
	defer handshake.Close()
	if err := handshake.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	return dialled.takeOver()
}

// asGiven turns a timeout that go-redis has taken in, where 0 is none and -1 leaves
// deadlines alone, back into what its options call so.
func asGiven(timeout time.Duration) time.Duration {
	if timeout <= 0 {
		return timeout - 1
	}
	return timeout
}

// capture keeps the connection that a client dials.
type capture struct {
	mu   sync.Mutex // protects last: go-redis dials in a goroutine of its own
	last *captured
}

func (c *capture) dialer(next func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.last = &captured{Conn: conn}
		return c.last, nil
	}
}

// pong is the reply after which a connection is taken over.
var pong = []byte("+PONG\r\n")

// takeOver returns the connection; closing the client leaves it open from then on.
func (c *capture) takeOver() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return nil, errors.New("redis: the client answered without dialling")
	}
	return c.last.takeOver()
}

// captured is a connection on its way from go-redis to us.
type captured struct {
	net.Conn

	mu    sync.Mutex // protects what follows
	tail  []byte     // what was received last
	ours  bool
	ended bool
}

func (c *captured) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, p[:n]...)
	if over := len(c.tail) - len(pong); over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	return n, err
}

func (c *captured) Close() error {
	c.mu.Lock()
	ours := c.ours
	c.ended = true
	c.mu.Unlock()
	if ours {
		return nil
	}
	return c.Conn.Close()
}

func (c *captured) takeOver() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return nil, fmt.Errorf("redis: the connection was given up: %w", net.ErrClosed)
	// Bytes behind it would be in a buffer of go-redis, and be missed here.
	case !bytes.Equal(c.tail, pong):
		return nil, fmt.Errorf("redis: %q where the reply of PING should end", c.tail)
	}
	c.ours = true
	return c.Conn, c.Conn.SetDeadline(time.Time{})
}
