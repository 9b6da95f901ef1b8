package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/projectord/projectord/projector"
)

// childVariable makes a process one that is measured by itself. Its job is the first line of
// its input, and not in its environment, which others may read: URLs have passwords.
const childVariable = "PROJECTORD_BENCH_CHILD"

// job is what such a process does, with the documents of the carts of a namespace in hashes.
type job struct {
	Redis     []string `json:"redis"` // URLs; several are the nodes of a cluster
	Namespace string   `json:"namespace"`
	Model     string   `json:"model"`
	// Reads has it read so many documents a second. Otherwise it is a worker.
	Reads int `json:"reads,omitempty"`
	// Streams is how many documents there are to read.
	Streams int `json:"streams,omitempty"`
}

// What a process is told after its job, one a line. It ends when its input does.
const (
	orderGo   = "go"   // to begin
	orderTell = "tell" // what it has taken so far
)

// told is what a process tells, one a line: when it is ready to begin, when it was asked,
// and in the end.
type told struct {
	Error string `json:"error,omitempty"`
	// CPU is the time of processors that it has taken, Allocs how often it took memory.
	CPU    time.Duration `json:"cpu"`
	Allocs uint64        `json:"allocs"`
	// Heap is how much of its memory is in use, in bytes, Resident how much it has, 0
	// where the system does not tell. Both are known where it was asked.
	Heap     uint64 `json:"heap"`
	Resident uint64 `json:"resident"`
	// States is of how many streams a worker keeps the state, and Cached what it counts
	// for those, in bytes.
	States int   `json:"states"`
	Cached int64 `json:"cached"`
	// Reading is how long reads took.
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
}

// Child is such a process, where this one was started to be one; then it does not return.
// Elsewhere it does nothing. Programs that measure call it before anything else.
func Child() {
	if os.Getenv(childVariable) == "" {
		return
	}
	in, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	var j job
	text, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &j)
	}
	if err == nil {
		err = j.do(in, func(t told) error { return out.Encode(t) })
	}
	if err != nil {
		out.Encode(told{Error: err.Error()})
		os.Exit(1)
	}
	os.Exit(0)
}

// do does the job until the orders end.
func (j job) do(orders io.Reader, tell func(told) error) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, err := openCarts(ctx, j.Redis, j.Namespace)
	if err != nil {
		return err
	}
	defer c.close()
	m, err := c.hashes(j.Model, false)
	if err != nil {
		return err
	}
	begin := make(chan struct{})
	asked := make(chan struct{})
	go func() {
		defer stop()
		lines := bufio.NewScanner(orders)
		for lines.Scan() {
			switch lines.Text() {
			case orderGo:
				close(begin)
			case orderTell:
				asked <- struct{}{}
			}
		}
	}()
	work := j.work
	if j.Reads > 0 {
		work = j.read
	}
	if err := tell(told{}); err != nil {
		return err
	}
	select {
	case <-begin:
		return work(ctx, c, m, asked, tell)
	case <-ctx.Done():
		return nil
	}
}

// work is the life of a worker.
func (j job) work(ctx context.Context, c *carts, m model, asked <-chan struct{}, tell func(told) error) error {
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: c.store, Log: c.log, Worker: "bench", Generations: c.registry, Logger: slog.New(slog.DiscardHandler),
		Projections: []projector.Assignment{{Projection: m.projection, Sink: m.sink}},
	})
	if err != nil {
		return err
	}
	begun, err := soFar()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for {
		select {
		case <-asked:
			t, err := soFar()
			if err == nil {
				t.since(begun)
				t.weigh()
				for _, s := range w.Status() {
					t.States, t.Cached = t.States+s.CachedStates, t.Cached+s.CachedBytes
				}
				err = tell(t)
			}
			if err != nil {
				return err
			}
		case err := <-ended:
			t, failed := soFar()
			if err == nil {
				err = failed
			}
			if err == nil {
				t.since(begun)
				err = tell(t)
			}
			return err
		}
	}
}

// soFar is what this process has taken so far, without its memory.
func soFar() (t told, err error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return t, err
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return told{CPU: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), Allocs: memory.Mallocs}, nil
}

// since leaves out what was taken before.
func (t *told) since(before told) { t.CPU, t.Allocs = t.CPU-before.CPU, t.Allocs-before.Allocs }

// weigh adds what this process has of memory, after what is not in use was collected.
func (t *told) weigh() {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second one
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	t.Heap = memory.HeapAlloc
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		var all, pages uint64
		if _, err := fmt.Sscan(string(text), &all, &pages); err == nil {
			t.Resident = pages * uint64(os.Getpagesize())
		}
	}
}

// child is a process that was started to do a job.
type child struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	told   *json.Decoder
	errors strings.Builder
}

// start starts a process and waits until it is ready to begin. It ends with ctx.
func start(ctx context.Context, j job) (*child, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, program)}
	c.cmd.Env = append(os.Environ(), childVariable+"=1")
	c.cmd.Stderr = &c.errors
	if c.orders, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.told = json.NewDecoder(output)
	if err = c.order(string(text)); err == nil {
		_, err = c.hear()
	}
	if err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// order tells the process something.
func (c *child) order(what string) error {
	_, err := io.WriteString(c.orders, what+"\n")
	return err
}

// hear waits for what the process tells.
func (c *child) hear() (t told, err error) {
	switch err = c.told.Decode(&t); {
	case err != nil:
		return t, fmt.Errorf("a process that is measured has ended: %w: %s", err, c.errors.String())
	case t.Error != "":
		return t, errors.New(t.Error)
	}
	return t, nil
}

// ask returns what the process has taken so far.
func (c *child) ask() (told, error) {
	if err := c.order(orderTell); err != nil {
		return told{}, err
	}
	return c.hear()
}

// end has the process end, and returns what it took.
func (c *child) end() (told, error) {
	c.orders.Close()
	t, err := c.hear()
	if failed := c.cmd.Wait(); err == nil {
		err = failed
	}
	return t, err
}

func (c *child) kill() {
	c.orders.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}
