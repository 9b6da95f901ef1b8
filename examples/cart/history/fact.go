package history

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
)

// Fact is an event that happened to a cart, as the file tells it.
type Fact struct {
	Cart string
	Type string // one of the names in package shop
	Time time.Time
	// Item, Qty and PriceMilli are empty unless Type is item_added or
	// item_removed.
	Item       string
	Qty        int64
	PriceMilli int64
	Ref        string
	// Line is where the fact comes from, counted from 1.
	Line int
}

// check refuses what would be no event of a cart. It is milder than the shop's
// commands: a history may take out what is not there, and has negative prices.
func (f *Fact) check() error {
	if _, err := eventstore.NewStreamID(shop.Category, f.Cart); err != nil {
		return fmt.Errorf("the cart: %w", err)
	}
	if f.Ref == "" || len(f.Ref) > maxRefBytes || !utf8.ValidString(f.Ref) || strings.ContainsFunc(f.Ref, unicode.IsControl) {
		return fmt.Errorf("the reference %.80q is not 1 to %d bytes of plain text", f.Ref, maxRefBytes)
	}
	switch f.Type {
	case shop.NameItemAdded, shop.NameItemRemoved:
		if f.Qty < 1 || f.Qty > shop.MaxQuantity {
			return fmt.Errorf("the quantity %d is not from 1 to %d", f.Qty, shop.MaxQuantity)
		}
		if f.PriceMilli < -shop.MaxPriceMilli || f.PriceMilli > shop.MaxPriceMilli {
			return fmt.Errorf("the price of %d thousandths is beyond %d", f.PriceMilli, shop.MaxPriceMilli)
		}
		return shop.CheckItem(f.Item)
	case shop.NameCheckedOut, shop.NameReturnClosed, shop.NameAdjustmentClosed:
		if f.Item != "" || f.Qty != 0 || f.PriceMilli != 0 {
			return fmt.Errorf("%s has an item, a quantity or a price", f.Type)
		}
		return nil
	}
	return fmt.Errorf("the type %.80q is no event of a cart", f.Type)
}

const maxRefBytes = 200

// value returns the event of package shop.
func (f *Fact) value() any {
	switch f.Type {
	case shop.NameItemAdded:
		return shop.ItemAdded{Item: f.Item, Qty: f.Qty, PriceMilli: f.PriceMilli, Ref: f.Ref}
	case shop.NameItemRemoved:
		return shop.ItemRemoved{Item: f.Item, Qty: f.Qty, PriceMilli: f.PriceMilli, Ref: f.Ref}
	case shop.NameCheckedOut:
		return shop.CheckedOut{Ref: f.Ref}
	case shop.NameReturnClosed:
		return shop.ReturnClosed{Ref: f.Ref}
	}
	return shop.AdjustmentClosed{Ref: f.Ref}
}

// LineError says what is wrong with one line. The lines after it can be read.
type LineError struct {
	Line int
	Err  error
}

// Error implements error.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

// ErrEmpty means that there is nothing to read: not even a header.
var ErrEmpty = errors.New("it is empty")
