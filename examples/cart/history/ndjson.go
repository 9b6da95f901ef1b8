package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/projectord/projectord/examples/cart/shop"
)

// event is one line of an ndjson file.
type event struct {
	Time       time.Time `json:"ts"`
	Cart       string    `json:"cart"`
	Type       string    `json:"type"`
	Item       string    `json:"item"`
	Qty        int64     `json:"qty"`
	PriceMilli *int64    `json:"price_milli"`
	Ref        string    `json:"ref"`
}

// ndjson yields the facts of an ndjson file.
func (h *History) ndjson(yield func(Fact, error) bool) {
	for {
		line, err := h.lines.next()
		if err == io.EOF {
			return
		}
		var f Fact
		if err == nil {
			if f, err = parseEvent(line); err != nil {
				err = &LineError{Line: h.lines.number, Err: err}
			}
			f.Line = h.lines.number
		}
		if !yield(f, err) || err != nil && !errors.As(err, new(*LineError)) {
			return
		}
	}
}

// parseEvent reads one line of an ndjson file.
func parseEvent(line []byte) (Fact, error) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return Fact{}, fmt.Errorf("no event as JSON: %w", err)
	}
	f := Fact{Cart: e.Cart, Type: e.Type, Time: e.Time.UTC(), Item: e.Item, Qty: e.Qty, Ref: e.Ref}
	if e.Time.IsZero() {
		return Fact{}, errors.New("it has no ts")
	}
	if e.PriceMilli != nil {
		f.PriceMilli = *e.PriceMilli
	} else if f.Type == shop.NameItemAdded || f.Type == shop.NameItemRemoved {
		return Fact{}, errors.New("it has no price_milli")
	}
	return f, f.check()
}
