package balancer

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

// WorkerConfig configures a [Worker].
type WorkerConfig struct {
	// Name is the worker's. Without it the name is that of the environment variable
	// POD_NAME, else POD_IP, else the hostname with a random suffix. A name that is given,
	// or found in the environment, is kept to one process.
	Name string
	// Getenv returns an environment variable, "" where it is not set. Defaults to
	// [os.Getenv].
	Getenv func(name string) string
	// Capacity is how many streams the worker has at most, read from its channel or not: it
	// asks for no more than it has room for. Defaults to 100.
	Capacity int
	// TTL is how long the worker's streams rest after it died. At least 100 ms; a worker
	// that is stuck, or cut off from Redis, for longer loses its streams. Defaults to
	// [lease.DefaultTTL].
	TTL time.Duration
	// Idle is how long a stream may go without [Worker.Progress], from its assignment on,
	// before it is taken from this worker and given to others: for handlers that hang.
	// 0 is for ever. The worker itself has it again only when nobody else took it within
	// a TTL.
	Idle time.Duration
	// RecoveryCount is how many streams of dead workers are taken over in one step, 1 to
	// 1,000, as far as there is room. Defaults to 1,000.
	RecoveryCount int
	// OfferExpired has streams of dead workers offered by [Expired], to be taken by
	// [Worker.Claim], in place of being assigned. An offer stands for three TTLs; others get
	// it after that.
	OfferExpired bool
	// Retry is how the worker tries again what failed. It never stops trying.
	Retry Retry
	// Logger is told of what goes wrong. Defaults to none.
	Logger *slog.Logger
	// Metrics is told what the worker does. Defaults to none.
	Metrics Metrics
}

// Retry is how long to wait before trying again: at first Initial, then twice as long each
// time, up to Max. Default to 50 ms and 5 s.
type Retry struct{ Initial, Max time.Duration }

// offerTTLs is how many TTLs an offer stands.
const offerTTLs = 3

func (c WorkerConfig) withDefaults() WorkerConfig {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	c.Capacity = cmp.Or(c.Capacity, 100)
	c.TTL = cmp.Or(c.TTL, lease.DefaultTTL)
	c.RecoveryCount = cmp.Or(c.RecoveryCount, 1000)
	c.Retry.Initial = cmp.Or(c.Retry.Initial, 50*time.Millisecond)
	c.Retry.Max = cmp.Or(c.Retry.Max, max(c.Retry.Initial, 5*time.Second))
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	return c
}

// maxCapacity keeps the channel, which has room for two notifications of each stream, from
// taking much memory.
const maxCapacity = 100_000

func (c WorkerConfig) validate() error {
	switch {
	case c.Capacity < 1 || c.Capacity > maxCapacity:
		return fmt.Errorf("config: Capacity is %d; it is 1 to %d", c.Capacity, maxCapacity)
	case c.TTL < 100*time.Millisecond:
		return fmt.Errorf("config: TTL is %s; it is at least 100ms", c.TTL)
	case c.Idle < 0:
		return fmt.Errorf("config: Idle is %s; it is more than 0, or 0 for ever", c.Idle)
	case c.RecoveryCount < 1 || c.RecoveryCount > 1000:
		return fmt.Errorf("config: RecoveryCount is %d; it is 1 to 1000", c.RecoveryCount)
	case c.Retry.Initial < time.Millisecond || c.Retry.Max < c.Retry.Initial:
		return fmt.Errorf("config: Retry is %s to %s; it begins with at least 1ms and does not shrink", c.Retry.Initial, c.Retry.Max)
	}
	return nil
}
