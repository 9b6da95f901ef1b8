package wire

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxIdle is how many connections a pool keeps while nobody uses them, and idleFor
	// how long.
	maxIdle = 8
	idleFor = 5 * time.Second
)

// Pool keeps the connections to the server of one client. It is safe for concurrent
// use, and needs no closing: what is not used closes after five seconds.
type Pool struct {
	client *redis.Client
	turns  chan struct{} // one for each connection that is lent
	keep   int           // how many may be idle

	mu      sync.Mutex  // protects what follows
	idle    []*Conn     // the one used last is the last
	cleanup *time.Timer // closes those that are idle for too long; nil while there are none
}

// NewPool returns a pool of connections to where the client's go. It lends as many at a
// time as the client's own may be: PoolSize, or MaxActiveConns where that is less. Of a
// client of Sentinels it lends half as many.
func NewPool(client *redis.Client) *Pool {
	p := client.Options()
	lend := p.PoolSize
	if p.MaxActiveConns > 0 {
		lend = min(lend, p.MaxActiveConns)
	}
	keep := min(lend, maxIdle)
	if p.Addr == failoverAddr {
		// Each takes one of the client's own along, which others need too.
		lend, keep = (lend+1)/2, min(lend/4, maxIdle)
	}
	return &Pool{client: client, turns: make(chan struct{}, lend), keep: keep}
}

// Get lends a connection for a use that ends with ctx, by being cut where need be. Where
// as many are in use as there may be it waits, for PoolTimeout of the client's options
// at the most, and fails with redis.ErrPoolTimeout.
func (p *Pool) Get(ctx context.Context) (*Conn, error) {
	if err := p.takeTurn(ctx); err != nil {
		return nil, err
	}
	for {
		c := p.takeIdle()
		if c == nil {
			break
		}
		if err := p.checkClient(ctx); err != nil {
			c.close()
			p.dropIdle()
			<-p.turns
			return nil, err
		}
		if c.Check(ctx) == nil {
			c.lend(ctx)
			return c, nil
		}
		c.close()
	}
	c, err := p.connect(ctx)
	if err != nil {
		<-p.turns
		return nil, err
	}
	c.lend(ctx)
	return c, nil
}

// checkClient returns an error where the client was closed. It does not say so itself, but
// has no connections then; one that is in use seldom has none.
func (p *Pool) checkClient(ctx context.Context) error {
	if p.client.PoolStats().TotalConns > 0 {
		return nil
	}
	if err := p.client.Ping(ctx).Err(); errors.Is(err, redis.ErrClosed) {
		return err
	}
	return nil
}

func (p *Pool) takeTurn(ctx context.Context) error {
	select {
	case p.turns <- struct{}{}:
		return nil
	default:
	}
	timeout := time.NewTimer(p.client.Options().PoolTimeout)
	defer timeout.Stop()
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return redis.ErrPoolTimeout
	}
}

// failoverAddr is the address that go-redis gives clients of Sentinels.
const failoverAddr = "FailoverClient"

// connect dials. It asks something by the client before, so that a client that was
// closed is refused, and one that is at odds with its server says so in its own words.
func (p *Pool) connect(ctx context.Context) (*Conn, error) {
	c := &Conn{pool: p}
	if p.client.Options().Addr == failoverAddr {
		// First the guard: should the client leave the server from here on, it closes it.
		c.guard = p.client.Conn()
		if err := c.guard.Ping(ctx).Err(); err != nil {
			c.guard.Close()
			return nil, err
		}
	} else if err := p.client.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	conn, err := dial(ctx, p.client)
	if err != nil {
		if c.guard != nil {
			c.guard.Close()
		}
		return nil, err
	}
	c.conn = conn
	return c, nil
}

func (p *Pool) takeIdle() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	c := p.idle[len(p.idle)-1]
	p.idle[len(p.idle)-1] = nil
	p.idle = p.idle[:len(p.idle)-1]
	return c
}

// put takes back a connection, and its turn.
func (p *Pool) put(c *Conn) {
	c.idle = time.Now()
	p.mu.Lock()
	full := len(p.idle) >= p.keep
	if !full {
		p.idle = append(p.idle, c)
		if p.cleanup == nil {
			p.cleanup = time.AfterFunc(idleFor, p.closeIdle)
		}
	}
	p.mu.Unlock()
	if full {
		c.close()
	}
	<-p.turns
}

// closeIdle closes what was not used for too long, and comes again while there is more.
func (p *Pool) closeIdle() {
	p.mu.Lock()
	old := 0
	for old < len(p.idle) && time.Since(p.idle[old].idle) >= idleFor {
		old++
	}
	closing := append([]*Conn(nil), p.idle[:old]...)
	p.idle = append(p.idle[:0], p.idle[old:]...)
	if len(p.idle) > 0 {
		p.cleanup.Reset(max(idleFor-time.Since(p.idle[0].idle), time.Millisecond))
	} else {
		p.cleanup = nil
	}
	p.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
}

// dropIdle closes all that are idle.
func (p *Pool) dropIdle() {
	p.mu.Lock()
	dropped := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range dropped {
		c.close()
	}
}

// Unused reports whether the pool has no connections, lent or idle.
func (p *Pool) Unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle) == 0 && len(p.turns) == 0
}
