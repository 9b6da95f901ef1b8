package socket

import (
	"bufio"
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

func testScript(t *testing.T, write func(w *bufio.Writer)) Script {
	t.Helper()
	s, err := NewScript(func(w *bufio.Writer) error {
		write(w)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A script is played to its end each time, whatever it says: replies are not looked at.
func TestPlay(t *testing.T) {
	server := testenv.StartRedis(t, "--requirepass", "secret")
	client := server.Client(t)
	const commands = 20_000 // more than fits into one read
	s := testScript(t, func(w *bufio.Writer) {
		for i := range commands {
			Command(w, "RPUSH", "list", strconv.Itoa(i), "", "a\r\nb")
		}
	})
	for times := 1; times <= 2; times++ {
		if took, err := s.Play(t.Context(), server.URL()); err != nil || took <= 0 {
			t.Fatalf("it took %v, %v", took, err)
		}
		if n := client.LLen(t.Context(), "list").Val(); n != int64(3*times*commands) {
			t.Errorf("after %d times there are %d entries; want %d", times, n, 3*times*commands)
		}
	}
}

// What would make a limit wrong is an error.
func TestPlayFails(t *testing.T) {
	server := testenv.StartRedis(t, "--requirepass", "secret")
	fine := testScript(t, func(w *bufio.Writer) { Command(w, "PING") })
	wrong := testScript(t, func(w *bufio.Writer) { Command(w, "XRANGES", "a", "-", "+") })
	if _, err := wrong.Play(t.Context(), server.URL()); err == nil || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("a command that there is not: %v", err)
	}
	without := "redis://" + server.Addr()
	if _, err := fine.Play(t.Context(), without); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fine.Play(ctx, server.URL()); err == nil {
		t.Error("it was played though the context had ended")
	}
}
