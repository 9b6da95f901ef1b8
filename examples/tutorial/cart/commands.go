package cart

import (
	"errors"
	"fmt"
)

// Why commands are refused.
var (
	ErrQty     = errors.New("a quantity is from 1 to 99")
	ErrMissing = errors.New("the cart does not have that many")
)

// Decision decides which events come next, given the cart as it is.
type Decision func(Cart) ([]any, error)

// Add puts so many of an item into the cart, which may hold 99 of each.
func Add(item string, qty int64) Decision {
	return func(c Cart) ([]any, error) {
		if has := c.Items[item]; qty < 1 || qty > 99-has {
			return nil, fmt.Errorf("%w; adding %d of %s to %d", ErrQty, qty, item, has)
		}
		return []any{ItemAdded{item, qty}}, nil
	}
}

// Remove takes so many of an item out of the cart.
func Remove(item string, qty int64) Decision {
	return func(c Cart) ([]any, error) {
		if has := c.Items[item]; qty < 1 || qty > has {
			return nil, fmt.Errorf("%w; removing %d of %s from %d", ErrMissing, qty, item, has)
		}
		return []any{ItemRemoved{item, qty}}, nil
	}
}
