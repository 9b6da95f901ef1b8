package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

// The story checks itself. What it tells is the same each time.
func TestStory(t *testing.T) {
	out, err := newCrew("").Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  lead 101: amount=0 contacts=1 created_by=shaon status=contacted\n", "  all rooms: readings=301 hot=180, on average 34.46 degrees\n", "  room_1: humidity=50 readings=101 ", "parked, so that order is kept", "nothing is missing",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// serve has a page, and all that the page asks for, until it is told to stop.
func TestServe(t *testing.T) {
	crew := newCrew("")
	t.Cleanup(crew.Kill)
	c, err := crew.Start(t.Context(), "served", nil, "serve", "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url, err := c.Says(t.Context(), "In a browser: ")
	if err != nil {
		t.Fatal(err)
	}
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
	if err := crew.Stop("served"); err != nil {
		t.Error(err)
	}
}
