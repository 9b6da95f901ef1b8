package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/projectord/projectord/projector/redissink"
)

const (
	// readRate is how many documents a second are read beside something else, and
	// readIdly how long where nothing else happens.
	readRate = 500
	readIdly = 2 * time.Second
)

// read is the life of a process that reads documents: one after another, at a modest rate.
func (j job) read(ctx context.Context, c *carts, m model, _ <-chan struct{}, tell func(told) error) error {
	reader, err := redissink.NewReader(c.client, j.Namespace, m.projection.Name(), j.Model)
	if err != nil {
		return err
	}
	var took []time.Duration
	tick := time.NewTicker(time.Second / time.Duration(j.Reads))
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		start := time.Now()
		document, _, err := reader.Document(ctx, strconv.Itoa(rand.IntN(j.Streams)))
		switch {
		case ctx.Err() != nil:
			continue
		case err == nil && len(document) == 0:
			err = fmt.Errorf("%s has no document", m.projection.Name())
		}
		if err != nil {
			return err
		}
		if n > 0 { // the first one connects
			took = append(took, time.Since(start))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	d := delaysOf(took)
	return tell(told{P50: d.p50, P99: d.p99})
}

// reading has a process read documents that readers see, while something is done.
func (c *carts) reading(ctx context.Context, m string, do func() error) (delays, error) {
	reader, err := start(ctx, job{Redis: c.urls, Namespace: c.store.Namespace(), Model: m, Reads: readRate, Streams: c.streams})
	if err != nil {
		return delays{}, err
	}
	if err = reader.order(orderGo); err == nil {
		err = do()
	}
	if err != nil {
		reader.kill()
		return delays{}, err
	}
	t, err := reader.end()
	return delays{p50: t.P50, p99: t.P99}, err
}
