package shop

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// The projection that chains each cart's events into one hash, and the model it
// keeps.
const (
	ChainProjection = "cart_chain"
	ChainModel      = "cart:chain"
)

// The fields of the chain model.
const (
	CountField = "count"
	HashField  = "hash"
)

// chain is a hash over all events of a cart in their order. With every event it
// becomes
//
//	sha256(hash in hex, newline, type, tab, item, tab, qty, tab, price_milli, tab, ref)
//
// where what an event does not have is empty, as is the first hash. An event that
// was missed, applied twice or out of order gives another hash, which makes this
// read model a proof that projecting is exact.
type chain struct {
	count int64
	hash  [2 * sha256.Size]byte // hex; meaningless while count is 0
	text  []byte                // what is hashed, kept for its memory
}

// Chain returns the projection of the hash chains. The registry is that of
// [Define].
func Chain(events *eventstore.Registry) projector.Projection {
	p := projector.NewState(ChainProjection, projector.StateConfig[chain]{
		Categories: []string{Category},
		Events:     events,
		Document:   (*chain).document,
	})
	projector.On(p, func(c *chain, e ItemAdded) { c.line(NameItemAdded, e.Item, e.Qty, e.PriceMilli, e.Ref) })
	projector.On(p, func(c *chain, e ItemRemoved) { c.line(NameItemRemoved, e.Item, e.Qty, e.PriceMilli, e.Ref) })
	projector.On(p, func(c *chain, e CheckedOut) { c.closing(NameCheckedOut, e.Ref) })
	projector.On(p, func(c *chain, e ReturnClosed) { c.closing(NameReturnClosed, e.Ref) })
	projector.On(p, func(c *chain, e AdjustmentClosed) { c.closing(NameAdjustmentClosed, e.Ref) })
	return p
}

func (c *chain) line(name, item string, qty, priceMilli int64, ref string) {
	c.begin(name)
	c.text = append(append(c.text, item...), '\t')
	c.text = append(strconv.AppendInt(c.text, qty, 10), '\t')
	c.text = append(strconv.AppendInt(c.text, priceMilli, 10), '\t')
	c.end(ref)
}

func (c *chain) closing(name, ref string) {
	c.begin(name)
	c.text = append(c.text, "\t\t\t"...)
	c.end(ref)
}

func (c *chain) begin(name string) {
	c.text = c.text[:0]
	if c.count > 0 {
		c.text = append(c.text, c.hash[:]...)
	}
	c.text = append(c.text, '\n')
	c.text = append(append(c.text, name...), '\t')
}

func (c *chain) end(ref string) {
	c.text = append(c.text, ref...)
	sum := sha256.Sum256(c.text)
	hex.Encode(c.hash[:], sum[:])
	c.count++
}

func (c *chain) document(d *projector.Document) {
	d.SetInt(CountField, c.count)
	d.SetString(HashField, string(c.hash[:]))
}
