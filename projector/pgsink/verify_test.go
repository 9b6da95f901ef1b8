package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/projectord/projectord/projector"
)

// What is read is of one moment: rows add up to the checkpoints, while others commit.
func TestReadEffects(t *testing.T) {
	s := openDelta(t, connect(t), counts...)
	const streams = 20
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() {
		stands := make([]projector.Checkpoint, streams)
		for n := 0; ctx.Err() == nil; n++ {
			i := n % streams
			c := effect(fmt.Sprint(i), stands[i], stands[i].Position.Major+1, adds("all", 1))
			c.Effects.Row("own "+fmt.Sprint(i)).SetString("name", fmt.Sprint(c.To.Position.Major))
			refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
			if err := errors.Join(append(refused, err)...); err != nil {
				done <- err
				return
			}
			stands[i] = c.To
		}
		close(done)
	}()
	moved := make(map[uint64]bool)
	for len(moved) < 30 {
		image, err := s.ReadEffects(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		sum := uint64(0)
		for stream, at := range image.Checkpoints {
			sum += at.Position.Major
			if got := image.Rows["own "+strings.TrimPrefix(stream, "cart-")]["name"]; got != fmt.Sprint(at.Position.Major) {
				t.Fatalf("%s stands at %s, and its row at %s", stream, at, got)
			}
		}
		if got := image.Rows["all"]["n"]; sum > 0 && got != fmt.Sprint(sum) {
			t.Fatalf("the checkpoints come to %d, and the row to %s", sum, got)
		}
		moved[sum] = true
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	if _, err := s.ReadEffects(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "product_totals_2") {
		t.Errorf("of a generation that is not: %v", err)
	}
	beginLoad(t, s)
	if _, err := s.ReadEffects(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "loaded") {
		t.Errorf("of a generation that is being loaded: %v", err)
	}
	bare := openDelta(t, connect(t))
	commitEffects(t, bare, effect("1", projector.Checkpoint{}, 1, nil))
	if image, err := bare.ReadEffects(t.Context(), 1); err != nil || len(image.Rows) != 0 || len(image.Checkpoints) != 1 {
		t.Errorf("without columns: %+v, %v", image, err)
	}
}
