package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// told is an event as a reader is told of it.
type told struct {
	name string // event, reset or end
	id   string // the version
	data struct {
		Version uint64
		ID      string
		Type    string
		Data    struct{ Text string }
		Reason  string // of an end
		Text    string // of an end
	}
}

// reader follows a message as an EventSource of a browser does.
type reader struct {
	message string
	last    string // the id of the last event it was told, which it says when it comes back
	all     []told

	lines *bufio.Scanner
	cut   context.CancelFunc
}

// connect has it follow by a daemon, behind what it was told already.
func (r *reader) connect(ctx context.Context, url string) error {
	if r.cut != nil {
		r.cut()
	}
	ctx, r.cut = context.WithCancel(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/streams/"+r.message+"/events", nil)
	if err != nil {
		return err
	}
	if r.last != "" {
		request.Header.Set("Last-Event-ID", r.last)
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("following %s at %s: %s", r.message, url, answer.Status)
	}
	r.lines = bufio.NewScanner(answer.Body)
	r.lines.Buffer(nil, 2<<20)
	return nil
}

// next returns the next event that it is told.
func (r *reader) next() (told, error) {
	var t told
	for r.lines.Scan() {
		field, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch field {
		case "id":
			t.id = value
		case "event":
			t.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &t.data); err != nil {
				return t, err
			}
		case "": // the end of an event, or what came between two
			if t.id != "" {
				r.last = t.id
			}
			if t.name == "" {
				t = told{}
				continue
			}
			r.all = append(r.all, t)
			return t, nil
		}
	}
	return t, fmt.Errorf("%s: the connection ended behind version %s: %v", r.message, r.last, r.lines.Err())
}

// follow reads on until something holds of an event.
func (r *reader) follow(enough func(told) bool) (told, error) {
	for {
		t, err := r.next()
		if err != nil || enough(t) {
			return t, err
		}
	}
}

// text is what the fragments come to. It is an error where one is missing, came twice, or
// came in another place.
func (r *reader) text() (string, error) {
	var b strings.Builder
	ids := make(map[string]bool)
	for i, t := range r.all {
		if t.name != "event" || t.data.Version != uint64(i+1) || t.id != strconv.Itoa(i+1) || ids[t.data.ID] {
			return "", fmt.Errorf("%s: in place %d a reader was told %+v", r.message, i+1, t)
		}
		ids[t.data.ID] = true
		b.WriteString(t.data.Data.Text)
	}
	return b.String(), nil
}
