package history

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestNDJSONBadLines(t *testing.T) {
	first, rest, _ := strings.Cut(smallNDJSON, "\n")
	const closing = `{"ts":"2010-12-01T08:26:00Z","cart":"c1","type":"checked_out","ref":"1"}`
	for _, test := range []struct{ name, line, reason string }{
		{"Empty", "", "JSON"},
		{"NoJSON", "x" + first, "JSON"},
		{"CutOff", first[:40], "JSON"},
		{"Array", "[" + first + "]", "JSON"},
		{"Two", first + first, "JSON"},
		{"Null", "null", "no ts"},
		{"DeepNesting", strings.Repeat(`{"a":`, 100_000), "JSON"},
		{"NoTime", strings.Replace(first, `"ts"`, `"when"`, 1), "no ts"},
		{"BadTime", strings.Replace(first, `2010-12-01T08:26:00Z`, `yesterday`, 1), "JSON"},
		{"NoCart", strings.Replace(first, `"c17850"`, `""`, 1), "the cart"},
		{"LongCart", strings.Replace(first, `"c17850"`, `"`+strings.Repeat("c", 201)+`"`, 1), "the cart"},
		{"ControlCharacterInCart", strings.Replace(first, `"c17850"`, `"c\u0007"`, 1), "the cart"},
		{"UnknownType", strings.Replace(first, `item_added`, `item_lost`, 1), "no event of a cart"},
		{"NoType", strings.Replace(first, `"type":"item_added",`, ``, 1), "no event of a cart"},
		{"NoItem", strings.Replace(first, `"item":"85123A",`, ``, 1), "bad item code"},
		{"NoQuantity", strings.Replace(first, `"qty":6,`, ``, 1), "the quantity 0"},
		{"NegativeQuantity", strings.Replace(first, `:6,`, `:-6,`, 1), "the quantity -6"},
		{"FractionalQuantity", strings.Replace(first, `:6,`, `:6.5,`, 1), "JSON"},
		{"QuantityAsText", strings.Replace(first, `:6,`, `:"6",`, 1), "JSON"},
		{"NoPrice", strings.Replace(first, `"price_milli":2550,`, ``, 1), "no price_milli"},
		{"HugePrice", strings.Replace(first, `2550`, `1000000000001`, 1), "price"},
		{"NoReference", strings.Replace(first, `"ref":"1"`, `"ref":""`, 1), "reference"},
		{"ClosingWithItem", strings.Replace(closing, `"ref"`, `"item":"tea","ref"`, 1), "has an item"},
		{"ClosingWithQuantity", strings.Replace(closing, `"ref"`, `"qty":1,"ref"`, 1), "a quantity"},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts, bad, err := read(t, first+"\n"+test.line+"\n"+rest)
			if err != nil || len(bad) != 1 {
				t.Fatalf("bad lines %v, %v; want one", bad, err)
			}
			if bad[0].Line != 2 || !strings.Contains(bad[0].Error(), test.reason) {
				t.Errorf("the error is %v; want line 2 and %q", bad[0], test.reason)
			}
			if len(facts) != 13 {
				t.Errorf("%d facts beside it; want 13", len(facts))
			}
		})
	}
}

// FuzzNDJSONLine reads a line: whatever is accepted is a fact that can be stored,
// and is the same when written and read again.
func FuzzNDJSONLine(f *testing.F) {
	for line := range strings.Lines(smallNDJSON) {
		f.Add(strings.TrimSuffix(line, "\n"))
	}
	f.Add(`{"ts":"2010-12-01T08:26:00+05:00","cart":"c\u00fc\ud83d","type":"item_added","item":"\"","qty":1,"price_milli":0,"ref":"1"}`)
	f.Fuzz(func(t *testing.T, line string) {
		fact, err := parseEvent([]byte(line))
		if err != nil {
			return
		}
		if err := fact.check(); err != nil {
			t.Fatalf("%q was accepted: %v", line, err)
		}
		text, err := json.Marshal(event{Time: fact.Time, Cart: fact.Cart, Type: fact.Type, Item: fact.Item, Qty: fact.Qty, PriceMilli: &fact.PriceMilli, Ref: fact.Ref})
		if err != nil {
			t.Fatalf("%q gave a fact that cannot be written: %v", line, err)
		}
		if again, err := parseEvent(text); err != nil || again != fact {
			t.Fatalf("%q is %+v, and %+v (%v) when written and read again", line, fact, again, err)
		}
	})
}
