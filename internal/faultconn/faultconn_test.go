package faultconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/faultconn"
)

// dial returns a client whose one connection runs over the line, and another
// that does not, to look at the server behind its back.
func dial(t *testing.T) (line *faultconn.Line, client, plain *redis.Client) {
	t.Helper()
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	line = new(faultconn.Line)
	options := redis.Options{
		Addr: server.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1,
	}
	plain = redis.NewClient(&options)
	options.Dialer = line.Dialer(nil)
	client = redis.NewClient(&options)
	t.Cleanup(func() {
		client.Close()
		plain.Close()
	})
	return line, client, plain
}

func TestUnarmedLineChangesNothing(t *testing.T) {
	line, client, _ := dial(t)
	for range 3 {
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if line.Cuts() != 0 || line.Delivered() == 0 {
		t.Errorf("%d cuts, %d bytes delivered", line.Cuts(), line.Delivered())
	}
}

func TestCutsAtEveryByte(t *testing.T) {
	const reply = "$12\r\nhello, world\r\n"
	for n := range len(reply) + 2 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			line, client, plain := dial(t)
			ctx := t.Context()
			if err := client.Set(ctx, "key", "hello, world", 0).Err(); err != nil {
				t.Fatal(err)
			}

			line.CutAfter(n, 1)
			got, err := client.GetDel(ctx, "key").Result()
			if whole := n >= len(reply); whole != (err == nil) || whole != (got == "hello, world") {
				t.Errorf("got %q, %v", got, err)
			}
			if want := min(n, len(reply)); line.Delivered() != want {
				t.Errorf("delivered %d bytes, want %d", line.Delivered(), want)
			}
			// n one past the reply is reached only by the next reply.
			if cut := n <= len(reply); cut != (line.Cuts() == 1) {
				t.Errorf("%d cuts", line.Cuts())
			}
			if plain.Exists(ctx, "key").Val() != 0 {
				t.Error("the server did not carry out the command")
			}
			line.CutAfter(0, 0)
			if err := client.Ping(ctx).Err(); err != nil {
				t.Errorf("the client does not recover: %v", err)
			}
		})
	}
}

func TestCutsSoManyConnections(t *testing.T) {
	line, client, _ := dial(t)
	line.CutAfter(0, 3)
	failed := 0
	for client.Ping(t.Context()).Err() != nil {
		failed++
	}
	// One ping may use up several connections: a failed handshake is dialled again.
	if line.Cuts() != 3 || failed == 0 || failed > 3 {
		t.Errorf("%d cuts, %d failed pings", line.Cuts(), failed)
	}
}

// pipe returns a dialled connection over line, and the end of it the server has.
func pipe(t *testing.T, line *faultconn.Line) (near, far net.Conn) {
	t.Helper()
	client, far := net.Pipe()
	near, err := line.Dialer(func(context.Context, string, string) (net.Conn, error) {
		return client, nil
	})(t.Context(), "tcp", "server")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func TestCutEndsBothDirections(t *testing.T) {
	line := new(faultconn.Line)
	near, far := pipe(t, line)
	line.CutAfter(3, 1)
	go far.Write([]byte("hello"))

	got, err := io.ReadAll(near)
	if string(got) != "hel" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := far.Write([]byte("more")); err == nil {
		t.Error("the server can still write")
	}
}

func TestArmedWhileWaitingForAReply(t *testing.T) {
	line := new(faultconn.Line)
	near, far := pipe(t, line)
	type result struct {
		n   int
		err error
	}
	results := make(chan result)
	go func() {
		n, err := near.Read(make([]byte, 10))
		results <- result{n, err}
	}()
	line.CutAfter(0, 1)
	far.SetWriteDeadline(time.Now().Add(10 * time.Second))
	far.Write([]byte("hello"))
	if got := <-results; got.n != 0 || !errors.Is(got.err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes, %v", got.n, got.err)
	}
}
