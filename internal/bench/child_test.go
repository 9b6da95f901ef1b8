package bench

import (
	"errors"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

var errNoRoom = errors.New("there is no room")

// A process tells what is wrong, and ends when it is told to.
func TestChild(t *testing.T) {
	url := testenv.StartRedis(t).URL()
	if _, err := start(t.Context(), job{Redis: []string{url}, Namespace: "No Name", Model: "m"}); err == nil || !strings.Contains(err.Error(), "No Name") {
		t.Errorf("a job that cannot be done: %v", err)
	}
	c := testCarts(t, 1, 1)
	p, err := start(t.Context(), job{Redis: c.urls, Namespace: "bench_test", Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range p.cmd.Env {
		if strings.Contains(variable, c.urls[0]) {
			t.Errorf("others may read in its environment where Redis is: %s", variable)
		}
	}
	if err := p.order(orderGo); err != nil {
		t.Fatal(err)
	}
	during, err := p.ask()
	if err != nil || during.CPU <= 0 || during.Allocs == 0 || during.Heap == 0 {
		t.Errorf("it tells %+v, %v", during, err)
	}
	after, err := p.end()
	if err != nil || after.CPU < during.CPU || after.Allocs < during.Allocs {
		t.Errorf("in the end it tells %+v, %v", after, err)
	}
	if !p.cmd.ProcessState.Success() {
		t.Error(p.cmd.ProcessState)
	}
}

// Documents that are not there are no reads.
func TestChildReads(t *testing.T) {
	c := testCarts(t, 1, 1)
	if _, err := c.registry.Start(t.Context(), "m", 1); err != nil {
		t.Fatal(err)
	}
	p, err := start(t.Context(), job{Redis: c.urls, Namespace: "bench_test", Model: "m", Reads: 1000, Streams: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	if err := p.order(orderGo); err != nil {
		t.Fatal(err)
	}
	if _, err := p.hear(); err == nil || !strings.Contains(err.Error(), "m has no document") {
		t.Errorf("got %v", err)
	}
}
