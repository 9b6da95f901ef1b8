package story

import (
	"context"
	"fmt"
	"time"
)

const (
	// Patience bounds what is waited for; only a story that does not come true takes as long.
	Patience = time.Minute
	lookOver = 10 * time.Millisecond
)

// Until waits until something has come true, for as long as [Patience] at the most. It
// returns an error also if one of the crew has ended by itself, since then it hardly will.
func (c *Crew) Until(ctx context.Context, what string, holds func() error) error {
	return until(ctx, what, holds, func() error {
		for _, p := range c.members {
			if err := p.Ended(); err != nil {
				return err
			}
		}
		return nil
	})
}

func until(ctx context.Context, what string, holds, ended func() error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	every := time.NewTicker(lookOver)
	defer every.Stop()
	for {
		// Before it is looked: what was said before the end counts.
		gone := ended()
		err := holds()
		if err == nil {
			return nil
		}
		if gone != nil {
			return fmt.Errorf("waiting until %s: %w", what, gone)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w: %w", what, ctx.Err(), err)
		}
	}
}

// Expect returns an error unless there are as many of something as are wanted.
func Expect(got, want int, of string) error {
	if got != want {
		return fmt.Errorf("there are %d %s, and not %d", got, of, want)
	}
	return nil
}

// AtLeast returns an error if there are fewer of something than are wanted.
func AtLeast(got, least int, of string) error {
	if got < least {
		return fmt.Errorf("there are %d %s, and not %d or more", got, of, least)
	}
	return nil
}
