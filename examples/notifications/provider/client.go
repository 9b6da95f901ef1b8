package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ErrRefused is wrapped by errors about what a provider will never deliver.
var ErrRefused = errors.New("the provider refuses it")

// ErrUnavailable is wrapped by errors that say nothing about what was to be delivered: the
// provider fails, or is away. It may have been delivered.
var ErrUnavailable = errors.New("the provider does not say that it has delivered")

// client keeps a connection for each of the calls that a worker may make at a time.
var client = func() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 100
	return &http.Client{Transport: t}
}()

// Client calls a [Provider]. It is safe for concurrent use.
type Client struct {
	// URL is where it is, such as http://127.0.0.1:7091.
	URL string
	// Worker is who calls.
	Worker string
}

// Deliver has something delivered, and blocks until the provider says so or ctx ends. The
// same again, with the same channel and event, is delivered once. Errors wrap [ErrRefused]
// or [ErrUnavailable], or are about a call that the provider does not understand.
func (c *Client) Deliver(ctx context.Context, d Delivery) error {
	d.Worker = c.Worker
	return c.call(ctx, http.MethodPost, "/deliveries", d, nil)
}

// Set has something go wrong from now on, as [Provider.Set] does.
func (c *Client) Set(ctx context.Context, f Fault) error {
	return c.call(ctx, http.MethodPost, "/faults", f, nil)
}

// Counts returns what happened in each channel, by name.
func (c *Client) Counts(ctx context.Context) ([]Counts, error) {
	var all []Counts
	err := c.call(ctx, http.MethodGet, "/channels", nil, &all)
	return all, err
}

// Last returns the last deliveries of all channels, the newest last.
func (c *Client) Last(ctx context.Context) ([]Delivery, error) {
	var all []Delivery
	err := c.call(ctx, http.MethodGet, "/deliveries", nil, &all)
	return all, err
}

// maxText is how much of what a provider says about an error is read.
const maxText = 1000

// call calls the provider, with a value in JSON where there is one, and reads its answer
// into another.
func (c *Client) call(ctx context.Context, method, path string, value, into any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusOK && into != nil:
		return json.NewDecoder(response.Body).Decode(into)
	case response.StatusCode == http.StatusOK:
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxText)) // as much as there is
	err = fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(text)))
	switch {
	case response.StatusCode == http.StatusUnprocessableEntity:
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	case response.StatusCode >= http.StatusInternalServerError:
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}
