package redissink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

// onScan has something done before each walk over the keys.
type onScan struct {
	redis.Hook
	do func()
}

func (h onScan) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h onScan) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h onScan) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "scan" {
			h.do()
		}
		return next(ctx, cmd)
	}
}

// Rows that somebody changes while they are read are read again, and given up on in the
// end; rows of other generations, and what is no row, do not come in.
func TestReadEffects(t *testing.T) {
	ns := testenv.Namespace(t)
	shared := testenv.Redis(t)
	s := begin(t, shared, ns)
	var stands projector.Checkpoint
	move := func() {
		c := effect("moving", func(f *projector.Effects) { f.Row("tea").Add("n", 1) })
		c.From = stands
		c.To = at(stands.Position.Major + 1)
		commitAll(t, s, c)
		stands = c.To
	}
	move()
	options := *shared.Options()
	client := redis.NewClient(&options)
	defer client.Close()
	moves, scans := 0, 0
	client.AddHook(onScan{do: func() {
		if scans++; scans <= moves {
			move()
		}
	}})
	reading, err := redissink.NewDelta(client, config(ns))
	if err != nil {
		t.Fatal(err)
	}
	other := effect("other", func(f *projector.Effects) { f.Row("tea").Add("n", 100) })
	if _, err := s.Commit(t.Context(), 2, []projector.Change{other}); err != nil {
		t.Fatal(err)
	}
	for _, moves = range []int{0, 3} {
		scans = 0
		image, err := reading.ReadEffects(t.Context(), 1)
		if err != nil || len(image.Rows) != 1 || image.Rows["tea"]["n"] != fmt.Sprint(stands.Position.Major) ||
			len(image.Checkpoints) != 1 || image.Checkpoints["cart-moving"] != stands {
			t.Errorf("after %d moves: %+v, %v; want %s", moves, image, err, stands)
		}
	}
	moves, scans = 1<<30, 0
	if _, err := reading.ReadEffects(t.Context(), 1); !errors.Is(err, redissink.ErrMoving) || !strings.Contains(err.Error(), "generation 1 of ") {
		t.Errorf("while it moves all the time: %v", err)
	}
	moves = 0
	taken := ns + ":product:totals:taken"
	client.Set(t.Context(), taken, "x", 0)
	if _, err := reading.ReadEffects(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "key "+taken) {
		t.Errorf("with a key of another type: %v", err)
	}
}
