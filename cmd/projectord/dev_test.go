package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/bench"
	"github.com/projectord/projectord/internal/testenv"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "PROJECTORD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	bench.Child()
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram) // or it would be taken for a setting
		main()
	}
	testenv.Main(m, testenv.NoLeaks)
}

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

// program returns the program as a process that has yet to start.
func program(t *testing.T, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	// What the machine has of settings is none of the test's.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PROJECTORD_") })
	cmd.Env = append(append(cmd.Env, environ...), asProgram+"=1")
	return cmd
}

// started is what dev says of itself.
type started struct {
	RedisURL    string   `json:"redis_url"`
	HTTP        string   `json:"http"`
	Projections []string `json:"projections"`
	Try         []struct{ Command string }
}

// On a bare machine dev runs a shop with all that belongs to it, says how to reach it, and
// other processes see what happens there; Ctrl-C ends it, with all there was.
func TestDev(t *testing.T) {
	var out, log testenv.Transcript
	// What the environment says of a Redis is said of another one.
	dev := program(t, []string{"PROJECTORD_REDIS_URL=redis://127.0.0.1:1", "PROJECTORD_REDIS_PASSWORD=secret"},
		"dev", "--http", "127.0.0.1:0", "-o", "json")
	dev.Stdout, dev.Stderr = &out, &log
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	t.Cleanup(func() { dev.Process.Kill() })

	var at started
	testenv.Wait(t, waitLong, func() error {
		if err := json.Unmarshal([]byte(out.String()), &at); err != nil {
			return fmt.Errorf("%w: %s%s", err, out.String(), log.String())
		}
		return nil
	})
	if len(at.Projections) != 6 || len(at.Try) < 3 {
		t.Errorf("it says %s", out.String())
	}
	run := func(args ...string) (string, error) {
		text, err := program(t, []string{"PROJECTORD_REDIS_URL=" + at.RedisURL}, args...).CombinedOutput()
		return string(text), err
	}
	says := func(want string, args ...string) {
		t.Helper()
		testenv.Wait(t, waitLong, func() error {
			if text, err := run(args...); err != nil || !strings.Contains(text, want) {
				return fmt.Errorf("%v does not say %q: %v, %s", args, want, err, text)
			}
			return nil
		})
	}
	says("item:", "get", "cart_current", "ada")
	says("added_milli", "get", "product_totals", "tea")
	says("1 worker", "status")
	says("cart-ada", "streams", "ls")
	says("dev  ", "workers", "ls")
	says("0 differ", "projections", "verify", "cart_chain", "--fold")
	testenv.Wait(t, waitLong, func() error {
		response, err := http.Get(at.HTTP + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", response.Status, body)
		}
		return nil
	})

	if err := dev.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v: %s", err, log.String())
	}
	if text := log.String(); !strings.HasPrefix(text, "stopping: ") || strings.Count(text, "\n") != 1 {
		t.Errorf("it logged %q, and not only that it stops", text)
	}
	var exit *exec.ExitError
	if text, err := run("status"); !errors.As(err, &exit) || exit.ExitCode() != 6 {
		t.Errorf("when it has ended, status says %s, %v", text, err)
	}
}

// What dev says for people fits a terminal, and every command in it is one.
func TestDevSays(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitLong)
	defer cancel()
	var out, log testenv.Transcript
	dev := program(t, nil, "dev", "--http", "off", "--traffic=false")
	dev.Stdout, dev.Stderr = &out, &log
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	defer context.AfterFunc(ctx, func() { dev.Process.Kill() })()
	testenv.Wait(t, waitLong, func() error {
		if !strings.Contains(out.String(), "status --watch") {
			return fmt.Errorf("it says %s%s", out.String(), log.String())
		}
		return nil
	})
	if err := dev.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := dev.Wait(); err != nil {
		t.Error(err)
	}
	text := out.String()
	if !strings.Contains(text, "\n  export PROJECTORD_REDIS_URL=redis://127.0.0.1:") {
		t.Errorf("it does not say how it is reached:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if len(line) > 101 {
			t.Errorf("a line is %d bytes long: %s", len(line), line)
		}
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "projectord" {
			command, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
			args := append(strings.Fields(command)[1:], "-h")
			if help, err := program(t, nil, args...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v, %s", command, err, help)
			}
		}
	}
}
