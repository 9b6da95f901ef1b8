package shop

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Why a command is refused.
var (
	// ErrItem means that an item code is empty, too long or no plain text.
	ErrItem = errors.New("bad item code")
	// ErrQuantity means that a quantity is less than one or beyond
	// [MaxQuantity].
	ErrQuantity = errors.New("bad quantity")
	// ErrPrice means that a price is negative or beyond [MaxPriceMilli].
	ErrPrice = errors.New("bad price")
	// ErrNotInCart means that the cart does not hold what is to be removed,
	// or not that many.
	ErrNotInCart = errors.New("not in the cart")
	// ErrNothingToPay means that nothing was added since the last check-out.
	ErrNothingToPay = errors.New("nothing to pay")
)

// Limits that keep every sum of quantities and prices far from overflowing: a line
// comes to 10^15 at the most.
const (
	MaxQuantity   = 1_000_000
	MaxPriceMilli = 1_000_000_000
)

const maxItemBytes = 200

// Decision is a command: it looks at a cart and returns the events that follow,
// or why there are none. It changes nothing, and can be made again.
type Decision = func(Cart) ([]any, error)

// AddItem puts a quantity of an item into the cart.
func AddItem(item string, qty, priceMilli int64, ref string) Decision {
	return func(Cart) ([]any, error) {
		if err := checkLine(item, qty, priceMilli); err != nil {
			return nil, err
		}
		return []any{ItemAdded{Item: item, Qty: qty, PriceMilli: priceMilli, Ref: ref}}, nil
	}
}

// RemoveItem takes a quantity of an item out of the cart.
func RemoveItem(item string, qty, priceMilli int64, ref string) Decision {
	return func(c Cart) ([]any, error) {
		if err := checkLine(item, qty, priceMilli); err != nil {
			return nil, err
		}
		if held := max(c.Holdings[item], 0); held < qty {
			return nil, fmt.Errorf("%w: %d of %s wanted, %d there", ErrNotInCart, qty, item, held)
		}
		return []any{ItemRemoved{Item: item, Qty: qty, PriceMilli: priceMilli, Ref: ref}}, nil
	}
}

// CheckOut pays what was added since the last time.
func CheckOut(ref string) Decision {
	return func(c Cart) ([]any, error) {
		if len(c.Unpaid) == 0 {
			return nil, ErrNothingToPay
		}
		return []any{CheckedOut{Ref: ref}}, nil
	}
}

// CheckItem returns an error that wraps [ErrItem] unless item can be the code of
// an item: 1 to 200 bytes of UTF-8 without control characters.
func CheckItem(item string) error {
	switch {
	case item == "":
		return fmt.Errorf("%w: it is empty", ErrItem)
	case len(item) > maxItemBytes:
		return fmt.Errorf("%w: it is %d bytes long, more than %d", ErrItem, len(item), maxItemBytes)
	case !utf8.ValidString(item) || strings.ContainsFunc(item, unicode.IsControl):
		return fmt.Errorf("%w: %q has control characters or is not UTF-8", ErrItem, item)
	}
	return nil
}

func checkLine(item string, qty, priceMilli int64) error {
	switch {
	case qty < 1 || qty > MaxQuantity:
		return fmt.Errorf("%w: %d is not from 1 to %d", ErrQuantity, qty, MaxQuantity)
	case priceMilli < 0 || priceMilli > MaxPriceMilli:
		return fmt.Errorf("%w: %d thousandths are not from 0 to %d", ErrPrice, priceMilli, MaxPriceMilli)
	}
	return CheckItem(item)
}
