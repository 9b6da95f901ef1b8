package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

// The story checks itself. What it tells is the same each time.
func TestStory(t *testing.T) {
	t.Setenv(asProgram, "1")
	out, err := runOnce(t.Context(), "redis://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  amount=0 contacts=1 created_by=shaon status=contacted\n", " readings=301\n", "parked, so that order is kept", "nothing is missing",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// serve has a page, and all that the page asks for, until it is told to stop.
func TestServe(t *testing.T) {
	t.Setenv(asProgram, "1")
	c, err := command(t.Context(), "redis://127.0.0.1:1", "serve", "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	url := ""
	for lines := bufio.NewScanner(pipe); url == "" && lines.Scan(); {
		_, url, _ = strings.Cut(lines.Text(), "In a browser: ")
	}
	go func() { _, _ = io.Copy(io.Discard, pipe) }()
	has := func(path, text string) error {
		answer, err := http.Get(strings.TrimSuffix(url, "/") + path)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && !strings.Contains(string(body), text) {
			err = fmt.Errorf("%s does not say %q: %s %s", path, text, answer.Status, body)
		}
		return err
	}
	for path, text := range map[string]string{
		"/": "<title>leads</title>", "/api/v1/projections/leads/documents/1": `"status"`,
		"/api/v1/projections/climate/documents/all": `"readings"`, "/api/v1/streams?limit=15&category=room": `"room-room_1"`,
	} {
		testenv.Wait(t, 30*time.Second, func() error { return has(path, text) })
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
