// Package socket is the limit that clients of a Redis are held against: commands that were
// written down before, sent over one socket, and the replies dropped.
package socket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/wire"
)

// Script is a file of commands to a Redis, as of [Prepare]. It is not safe for concurrent
// use.
type Script struct{ *os.File }

// NewScript returns a script of the commands that write writes by [Command]. Closing it
// removes it.
func NewScript(write func(w *bufio.Writer) error) (Script, error) {
	f, err := Prepare(write)
	return Script{f}, err
}

// Prepare returns a file of what write writes, which is removed by closing it. What is to be
// sent to a server is not kept in memory, because a larger heap would have the collector come
// less often to what is measured after it.
func Prepare(write func(w *bufio.Writer) error) (*os.File, error) {
	f, err := os.CreateTemp("", "projectord-bench-")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		w := bufio.NewWriterSize(f, 1<<20)
		if err = write(w); err == nil {
			err = w.Flush()
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Command writes a command as Redis reads it.
func Command(w *bufio.Writer, words ...string) {
	w.Write(wire.AppendCommand(w.AvailableBuffer(), words...))
}

// Play sends all commands of a script over one socket, one behind the other, drops the
// replies unread, and returns how long that took. No client of that server can be faster.
func (s Script) Play(ctx context.Context, url string) (took time.Duration, err error) {
	conn, err := dial(ctx, url)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	// What comes last is known by its text.
	last := fmt.Sprint("the end of ", rand.Uint64())
	sent := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := io.Copy(conn, s.File)
		if err == nil {
			_, err = conn.Write(wire.AppendCommand(nil, "ECHO", last))
		}
		sent <- err
	}()
	err = drop(conn, last+"\r\n")
	took = time.Since(start)
	if err != nil {
		conn.Close()
		<-sent
		return 0, fmt.Errorf("reading from the socket to %s: %w", conn.RemoteAddr(), err)
	}
	return took, <-sent
}

// drop reads up to a text that comes last, and looks at nothing else but that the first
// reply is no error.
func drop(conn net.Conn, last string) error {
	buf, tail := make([]byte, 256<<10), make([]byte, 0, 512<<10)
	for first := true; !bytes.HasSuffix(tail, []byte(last)); first = false {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if first && buf[0] == '-' {
			line, _, _ := bytes.Cut(buf[:n], []byte("\r\n"))
			return fmt.Errorf("the reply is %q", line)
		}
		tail = append(tail, buf[max(0, n-len(last)):n]...)
		tail = tail[:copy(tail, tail[max(0, len(tail)-len(last)):])]
	}
	return nil
}

// dial returns a connection to a Redis on which commands can be sent.
func dial(ctx context.Context, url string) (net.Conn, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if options.TLSConfig != nil {
		conn, err = (&tls.Dialer{Config: options.TLSConfig}).DialContext(ctx, options.Network, options.Addr)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, options.Network, options.Addr)
	}
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var greeting []byte
	switch {
	case options.Username != "":
		greeting = wire.AppendCommand(greeting, "AUTH", options.Username, options.Password)
	case options.Password != "":
		greeting = wire.AppendCommand(greeting, "AUTH", options.Password)
	}
	if options.DB != 0 {
		greeting = wire.AppendCommand(greeting, "SELECT", strconv.Itoa(options.DB))
	}
	if _, err = conn.Write(wire.AppendCommand(greeting, "PING")); err == nil {
		err = drop(conn, "+PONG\r\n")
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting the Redis at %s: %w", options.Addr, err)
	}
	return conn, nil
}
