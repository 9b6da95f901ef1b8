// Package bank is a make-believe of a payment service, which fails in all the ways that
// matter to whoever asks it: it declines, it does not know whom to charge, it times out, its
// reply is lost behind a charge, and it is down.
package bank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Limit is from which amount on a charge is declined.
const Limit = 1000_00

const (
	// Hasty is a user whose charges time out twice before they come through.
	Hasty    = "tim"
	timeouts = 2
	// Unknown is a user without an account, until it is opened.
	Unknown = "eve"
)

// What a charge fails with, besides errors that another attempt may not meet.
var (
	// ErrDeclined means that the bank has decided: there will be no money.
	ErrDeclined = errors.New("declined")
	// ErrBroken means that the bank cannot make anything of the request.
	ErrBroken = errors.New("the bank refuses the request")
	// ErrDown means that the bank is away, whatever it is asked.
	ErrDown = errors.New("the bank is down")
)

// Bank is the service. It answers HTTP, and is safe for concurrent use.
type Bank struct {
	mu      sync.Mutex
	down    bool
	opened  map[string]bool
	charged map[string]string      // payments by key: a charge that is repeated is one
	charges map[string]int         // by order: how often it was charged
	calls   map[string][]time.Time // by order
	turned  int                    // calls while it was down
	lose    int                    // of how many of the next charges the reply is lost
	behind  func(order string)     // called behind a charge
}

// New returns a bank that is up.
func New() *Bank {
	return &Bank{
		opened: make(map[string]bool), charged: make(map[string]string), charges: make(map[string]int),
		calls: make(map[string][]time.Time), behind: func(string) {},
	}
}

// SetDown has it be down, or up again.
func (b *Bank) SetDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// Turned returns how many calls it has turned away while it was down.
func (b *Bank) Turned() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.turned
}

// Lose has it charge the next n orders, and lose its reply to whoever asked.
func (b *Bank) Lose(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose += n
}

// Behind has f called with the order behind every charge, before whoever asked is told. It
// may be called by several goroutines at once. Charges that are only repeated are none.
func (b *Bank) Behind(f func(order string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.behind = f
}

// Charges returns how often an order was charged: once for each key that it was asked with.
func (b *Bank) Charges(order string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.charges[order]
}

// Total returns how many charges came through, of all orders together.
func (b *Bank) Total() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.charged)
}

// Calls returns when it was asked to charge an order, the calls while it was down left out.
func (b *Bank) Calls(order string) []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[order]
}

// request is what it is asked.
type request struct {
	Key         string `json:"key"` // the same for a charge that is repeated
	Order       string `json:"order"`
	User        string `json:"user"`
	AmountCents int64  `json:"amount_cents"`
}

// reply is what it answers.
type reply struct {
	Payment string `json:"payment,omitempty"`
	Error   string `json:"error,omitempty"`
}

// ServeHTTP implements [http.Handler].
func (b *Bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked request
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	status, answer, after := b.serve(r.URL.Path, asked)
	after()
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // whoever has gone asks again
}

// serve answers a call, and returns what is to be done before whoever asked is told.
func (b *Bank) serve(path string, asked request) (status int, answer reply, after func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	after = func() {}
	switch {
	case b.down:
		b.turned++
		return http.StatusServiceUnavailable, reply{}, after
	case path == "/accounts":
		b.opened[asked.User] = true
		return http.StatusOK, reply{}, after
	case path != "/charges":
		return http.StatusNotFound, reply{Error: "there is no " + path}, after
	}
	b.calls[asked.Order] = append(b.calls[asked.Order], time.Now())
	switch {
	case asked.User == Unknown && !b.opened[asked.User]:
		return http.StatusUnprocessableEntity, reply{Error: "there is no account of " + asked.User}, after
	case asked.User == Hasty && len(b.calls[asked.Order]) <= timeouts:
		return http.StatusGatewayTimeout, reply{}, after
	case asked.AmountCents > Limit:
		return http.StatusPaymentRequired, reply{Error: "it is more than the account holds"}, after
	}
	if b.charged[asked.Key] == "" {
		b.charged[asked.Key] = fmt.Sprintf("payment-%d", len(b.charged)+1)
		b.charges[asked.Order]++
		behind, lost := b.behind, b.lose > 0
		b.lose = max(0, b.lose-1)
		after = func() {
			behind(asked.Order)
			if lost {
				panic(http.ErrAbortHandler) // closes the connection
			}
		}
	}
	return http.StatusOK, reply{Payment: b.charged[asked.Key]}, after
}

// Client asks a bank. It is safe for concurrent use.
type Client struct{ URL string }

// Charge charges a user, once for each key, and returns the payment. Errors that are none of
// those above may be gone with the next attempt.
func (c *Client) Charge(ctx context.Context, key, order, user string, amountCents int64) (string, error) {
	return c.ask(ctx, "/charges", request{key, order, user, amountCents})
}

// Open opens an account.
func (c *Client) Open(ctx context.Context, user string) error {
	_, err := c.ask(ctx, "/accounts", request{User: user})
	return err
}

func (c *Client) ask(ctx context.Context, path string, asked request) (string, error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrDown, err)
		}
		return "", err
	}
	defer response.Body.Close()
	var answer reply
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&answer); err != nil {
		return "", fmt.Errorf("the bank answers %s: %w", response.Status, err)
	}
	switch response.StatusCode {
	case http.StatusOK:
		return answer.Payment, nil
	case http.StatusPaymentRequired:
		return "", fmt.Errorf("%w: %s", ErrDeclined, answer.Error)
	case http.StatusServiceUnavailable:
		return "", fmt.Errorf("%w: it answers %s", ErrDown, response.Status)
	case http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusNotFound:
		return "", fmt.Errorf("%w: %s", ErrBroken, answer.Error)
	}
	return "", fmt.Errorf("the bank answers %s", response.Status)
}
