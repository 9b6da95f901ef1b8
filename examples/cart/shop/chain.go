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
	// The fields are exported, so that snapshots of it can be kept.
	Count int64
	Hash  [2 * sha256.Size]byte // hex; meaningless while Count is 0
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

// textSize is room enough for what is hashed of most events.
const textSize = 256

func (c *chain) line(name, item string, qty, priceMilli int64, ref string) {
	text := append(append(c.begin(name), item...), '\t')
	text = append(strconv.AppendInt(text, qty, 10), '\t')
	text = append(strconv.AppendInt(text, priceMilli, 10), '\t')
	c.end(text, ref)
}

func (c *chain) closing(name, ref string) { c.end(append(c.begin(name), "\t\t\t"...), ref) }

func (c *chain) begin(name string) []byte {
	text := make([]byte, 0, textSize)
	if c.Count > 0 {
		text = append(text, c.Hash[:]...)
	}
	text = append(text, '\n')
	return append(append(text, name...), '\t')
}

func (c *chain) end(text []byte, ref string) {
	sum := sha256.Sum256(append(text, ref...))
	hex.Encode(c.Hash[:], sum[:])
	c.Count++
}

func (c *chain) document(d *projector.Document) {
	d.SetInt(CountField, c.Count)
	d.SetString(HashField, string(c.Hash[:]))
}
