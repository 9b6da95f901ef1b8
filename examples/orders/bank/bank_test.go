package bank

import (
	"errors"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// at returns a bank and a client of it.
func at(t *testing.T) (*Bank, *Client) {
	t.Helper()
	b := New()
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, &Client{URL: server.URL}
}

// charge charges an order of a user, by a key.
func charge(t *testing.T, c *Client, key, order, user string) (string, error) {
	t.Helper()
	return c.Charge(t.Context(), key, order, user, 250)
}

func want(t *testing.T, got, kind error) {
	t.Helper()
	if !errors.Is(got, kind) || kind == nil && got != nil {
		t.Fatalf("the error is %v, want %v", got, kind)
	}
}

func wantCharges(t *testing.T, b *Bank, order string, n int) {
	t.Helper()
	if got := b.Charges(order); got != n {
		t.Errorf("order %s was charged %d times, want %d", order, got, n)
	}
}

// What it answers is an error of the kind that says what follows.
func TestAnswers(t *testing.T) {
	t.Parallel()
	b, c := at(t)
	_, err := charge(t, c, "a", "1", "ann")
	want(t, err, nil)
	_, err = c.Charge(t.Context(), "b", "2", "ann", Limit+1)
	want(t, err, ErrDeclined)
	_, err = charge(t, c, "c", "3", Unknown)
	want(t, err, ErrBroken)
	want(t, c.Open(t.Context(), Unknown), nil)
	_, err = charge(t, c, "c", "3", Unknown)
	want(t, err, nil)
	for range timeouts {
		_, err = charge(t, c, "d", "4", Hasty)
		if err == nil || slices.ContainsFunc([]error{ErrDeclined, ErrBroken, ErrDown}, func(kind error) bool { return errors.Is(err, kind) }) {
			t.Errorf("a charge that times out: %v", err)
		}
	}
	_, err = charge(t, c, "d", "4", Hasty)
	want(t, err, nil)
	b.SetDown(true)
	_, err = charge(t, c, "e", "5", "ann")
	want(t, err, ErrDown)
	b.SetDown(false)
	_, err = charge(t, &Client{URL: c.URL + "/nowhere"}, "e", "5", "ann")
	want(t, err, ErrBroken)
	for order, n := range map[string]int{"1": 1, "2": 0, "3": 1, "4": 1, "5": 0} {
		wantCharges(t, b, order, n)
	}
	if total, calls, turned := b.Total(), len(b.Calls("4")), b.Turned(); total != 3 || calls != timeouts+1 || turned != 1 {
		t.Errorf("%d charges, %d calls for order 4, %d turned away", total, calls, turned)
	}
}

// A charge whose reply is lost is there all the same. Asked again by its key it is the same
// one; by another key it is a second one, and that shows.
func TestLostReply(t *testing.T) {
	t.Parallel()
	b, c := at(t)
	var behind []string
	b.Behind(func(order string) { behind = append(behind, order) })
	b.Lose(1)
	_, err := charge(t, c, "a", "1", "ann")
	want(t, err, ErrDown)
	wantCharges(t, b, "1", 1)
	first, err := charge(t, c, "a", "1", "ann")
	want(t, err, nil)
	wantCharges(t, b, "1", 1)
	second, err := charge(t, c, "another", "1", "ann")
	want(t, err, nil)
	wantCharges(t, b, "1", 2)
	if first == second || b.Total() != 2 || !slices.Equal(behind, []string{"1", "1"}) {
		t.Errorf("the payments are %q and %q, there are %d, behind %q", first, second, b.Total(), behind)
	}
}

// The same asked for by many at the same time is one charge, and all are told the payment.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	b, c := at(t)
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			if payment, err := c.Charge(t.Context(), "a", "1", "ann", 250); err != nil || payment != "payment-1" {
				t.Error(payment, err)
			}
		})
	}
	callers.Wait()
	wantCharges(t, b, "1", 1)
}
