package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// line is what most events of carts have in common.
type line struct {
	Item       string `msgpack:"item"`
	Qty        int64  `msgpack:"qty"`
	PriceMilli int64  `msgpack:"price_milli"`
	Ref        string `msgpack:"ref"`
}

// lineAdded and lineRemoved are decoded by their struct tags, handAdded and handRemoved
// by a function written by hand.
type (
	lineAdded   struct{ line }
	lineRemoved struct{ line }
	handAdded   struct{ line }
	handRemoved struct{ line }
	linePaid    struct {
		Ref string `msgpack:"ref"`
	}
)

func (l line) get() line { return l }

// UnmarshalMsgpack implements msgpack.Unmarshaler.
func (h *handAdded) UnmarshalMsgpack(b []byte) error { return h.decode(b) }

// UnmarshalMsgpack implements msgpack.Unmarshaler.
func (h *handRemoved) UnmarshalMsgpack(b []byte) error { return h.decode(b) }

var errLine = errors.New("not a line")

// decode reads a map of the fields.
func (l *line) decode(b []byte) error {
	if len(b) == 0 || b[0]&0xf0 != 0x80 {
		return errLine
	}
	n := int(b[0] & 0x0f)
	b = b[1:]
	for range n {
		name, rest, ok := shortText(b)
		if !ok {
			return errLine
		}
		var text []byte
		switch string(name) {
		case "item":
			text, b, ok = shortText(rest)
			l.Item = string(text)
		case "ref":
			text, b, ok = shortText(rest)
			l.Ref = string(text)
		case "qty":
			l.Qty, b, ok = integer(rest)
		case "price_milli":
			l.PriceMilli, b, ok = integer(rest)
		default:
			ok = false
		}
		if !ok {
			return errLine
		}
	}
	return nil
}

func shortText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0]&0xe0 != 0xa0 || len(b) <= int(b[0]&0x1f) {
		return nil, nil, false
	}
	n := 1 + int(b[0]&0x1f)
	return b[1:n], b[n:], true
}

// integer reads the forms the codec writes integers in.
func integer(b []byte) (v int64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	t := b[0]
	b = b[1:]
	size := 0
	switch {
	case t < 0x80 || t >= 0xe0:
		return int64(int8(t)), b, true
	case 0xcc <= t && t <= 0xcf:
		size = 1 << (t - 0xcc)
	case 0xd0 <= t && t <= 0xd3:
		size = 1 << (t - 0xd0)
	}
	if size == 0 || len(b) < size {
		return 0, nil, false
	}
	var wide [8]byte
	copy(wide[8-size:], b)
	v = int64(binary.BigEndian.Uint64(wide[:]))
	if t >= 0xd0 {
		shift := 64 - 8*size
		v = v << shift >> shift
	}
	return v, b[size:], true
}

// lineRegistry registers the events under the same names whichever way they are decoded.
func lineRegistry[A, R lined]() *eventstore.Registry {
	r := eventstore.NewRegistry()
	eventstore.Register[A](r, "item_added", 1)
	eventstore.Register[R](r, "item_removed", 1)
	eventstore.Register[linePaid](r, "checked_out", 1)
	return r
}

// lined is an event with a line.
type lined interface{ get() line }

// lines is what a cart adds up to.
type lines struct {
	lines, qty, total int64
	item, ref         string
	paid              bool
}

func (s *lines) add(l line) {
	s.lines++
	s.qty += l.Qty
	s.total += l.Qty * l.PriceMilli
	s.item, s.ref = l.Item, l.Ref
}

func (s *lines) remove(l line) {
	s.qty -= l.Qty
	s.total -= l.Qty * l.PriceMilli
}

func (s *lines) pay(ref string) { s.paid, s.ref = true, ref }

// is returns an error where a document is another one.
func (s *lines) is(document map[string]string) error {
	for field, want := range map[string]string{
		"lines": strconv.FormatInt(s.lines, 10), "qty": strconv.FormatInt(s.qty, 10), "total": strconv.FormatInt(s.total, 10),
		"last_item": s.item, "ref": s.ref, "paid": strconv.FormatBool(s.paid),
	} {
		if document[field] != want {
			return fmt.Errorf("the field %s of its document is %q; want %q", field, document[field], want)
		}
	}
	return nil
}

// cartLines makes a document with six fields of each cart.
func cartLines[A, R lined](name string) projector.Projection {
	p := projector.NewState(name, projector.StateConfig[lines]{
		Version: 2, Categories: []string{"cart"}, Events: lineRegistry[A, R](),
		Document: func(s *lines, d *projector.Document) {
			d.SetInt("lines", s.lines)
			d.SetInt("qty", s.qty)
			d.SetInt("total", s.total)
			d.SetString("last_item", s.item)
			d.SetString("ref", s.ref)
			d.SetBool("paid", s.paid)
		},
	})
	projector.On(p, func(s *lines, e A) { s.add(e.get()) })
	projector.On(p, func(s *lines, e R) { s.remove(e.get()) })
	projector.On(p, func(s *lines, e linePaid) { s.pay(e.Ref) })
	return p
}

// itemTotals adds up over all carts what was sold of an item.
func itemTotals[A, R lined](name string) projector.Projection {
	p := projector.NewDelta(name, projector.DeltaConfig{Version: 2, Categories: []string{"cart"}, Events: lineRegistry[A, R]()})
	count := func(f *projector.Effects, l line, sign int64) {
		row := f.Row(l.Item)
		row.Add("qty", sign*l.Qty)
		row.Add("total", sign*l.Qty*l.PriceMilli)
	}
	projector.OnDelta(p, func(f *projector.Effects, e A, _ *eventstore.Recorded) { count(f, e.get(), 1) })
	projector.OnDelta(p, func(f *projector.Effects, e R, _ *eventstore.Recorded) { count(f, e.get(), -1) })
	return p
}
