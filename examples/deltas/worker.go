package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/projectord/projectord/internal/story"
)

// newCrew returns who works in a story.
func newCrew(redisURL string) *story.Crew {
	return story.NewCrew("deltas", redisURL, "DELTAS_PACE="+storyPace.String())
}

// worker is a process that runs a worker and answers HTTP.
type worker struct {
	*story.Child
	url string
}

// startWorker starts one, with variables in its environment and flags beside the usual ones,
// and returns it once it is ready.
func startWorker(ctx context.Context, crew *story.Crew, name string, variables []string, flags ...string) (*worker, error) {
	c, err := crew.Start(ctx, name, variables, append([]string{"run", "--ttl", "500ms", "--http", "127.0.0.1:0"}, flags...)...)
	if err != nil {
		return nil, err
	}
	address, err := c.Says(ctx, `msg="http is answered" address=`)
	if err != nil {
		return nil, err
	}
	address, _, _ = strings.Cut(address, " ")
	w := &worker{c, "http://" + address}
	return w, crew.Until(ctx, name+" is ready", func() error {
		_, err := get(ctx, w.url+"/readyz", nil)
		return err
	})
}

// get asks for something and returns the body of the answer.
func get(ctx context.Context, url string, header http.Header) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if header != nil {
		r.Header = header
	}
	return answered(http.DefaultClient, r)
}

func answered(client *http.Client, r *http.Request) (string, error) {
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", r.Method, r.URL, answer.Status, body)
	}
	return string(body), err
}
