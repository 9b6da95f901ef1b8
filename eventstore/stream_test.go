package eventstore_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/projectord/projectord/eventstore"
)

func TestStreamID(t *testing.T) {
	for _, c := range []struct{ text, category, id string }{
		{"cart-42", "cart", "42"},
		{"a-b", "a", "b"},
		{"cart_2-x", "cart_2", "x"},
		{"cart-a-b-c", "cart", "a-b-c"},
		{"cart--", "cart", "-"},
		{"cart-{x}:y z", "cart", "{x}:y z"},
		{"cart-日本語", "cart", "日本語"},
		{strings.Repeat("c", 64) + "-" + strings.Repeat("x", 200), strings.Repeat("c", 64), strings.Repeat("x", 200)},
	} {
		s, err := eventstore.ParseStreamID(c.text)
		if err != nil || s.Category() != c.category || s.ID() != c.id || s.String() != c.text || s.IsZero() {
			t.Errorf("%q: got %q, %q, %q, %v", c.text, s.Category(), s.ID(), s, err)
		}
		if made := eventstore.MustStreamID(c.category, c.id); made != s {
			t.Errorf("%q: made %q, parsed %q", c.text, made, s)
		}
	}
}

func TestStreamIDRefused(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{"", "no dash"},
		{"cart", "no dash"},
		{"cart-", "is empty"},
		{"-42", "does not match"},
		{"Cart-42", "does not match"},
		{"4cart-42", "does not match"},
		{"_cart-42", "does not match"},
		{"ca.rt-42", "does not match"},
		{"càrt-42", "does not match"},
		{strings.Repeat("c", 65) + "-42", "does not match"},
		{"cart-" + strings.Repeat("x", 201), "201 bytes"},
		{"cart-\xff", "UTF-8"},
		{"cart-a\nb", "control character"},
		{"cart-a\x00b", "control character"},
		{"cart-a\u0085b", "control character"},
	} {
		s, err := eventstore.ParseStreamID(c.text)
		if !errors.Is(err, eventstore.ErrInvalidStream) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: got %v, want that it says %q", c.text, err, c.says)
		}
		if !s.IsZero() {
			t.Errorf("%q: got the stream %q beside the error", c.text, s)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%q: the message has %d bytes", c.text, len(err.Error()))
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustStreamID does not panic")
		}
	}()
	eventstore.MustStreamID("cart", "")
}

func TestStreamIDZero(t *testing.T) {
	var s eventstore.StreamID
	if !s.IsZero() || s.Category() != "" || s.ID() != "" || s.String() != "" {
		t.Errorf("got %q, %q, %q", s.Category(), s.ID(), s)
	}
}

func TestStreamIDAsText(t *testing.T) {
	type document struct {
		Stream eventstore.StreamID
		Counts map[eventstore.StreamID]int
	}
	in := document{eventstore.MustStreamID("cart", `4"2`), map[eventstore.StreamID]int{eventstore.MustStreamID("order", "1"): 2}}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out document
	if err := json.Unmarshal(text, &out); err != nil || out.Stream != in.Stream || out.Counts[eventstore.MustStreamID("order", "1")] != 2 {
		t.Errorf("%s came back as %+v, %v", text, out, err)
	}
	if err := json.Unmarshal([]byte(`{"Stream":"nonsense"}`), &out); !errors.Is(err, eventstore.ErrInvalidStream) || out.Stream != in.Stream {
		t.Errorf("got %v, and %q", err, out.Stream)
	}
}

func FuzzParseStreamID(f *testing.F) {
	for _, s := range []string{"cart-42", "-", "a-", "a--", "cart-\n", "cart-\xff", "cart_1-{x}", strings.Repeat("a", 65) + "-b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := eventstore.ParseStreamID(text)
		if err != nil {
			if !errors.Is(err, eventstore.ErrInvalidStream) {
				t.Errorf("got %v", err)
			}
			return
		}
		if s.String() != text || s.Category()+"-"+s.ID() != text || !utf8.ValidString(text) {
			t.Errorf("%q came back as %q: %q, %q", text, s, s.Category(), s.ID())
		}
		made, err := eventstore.NewStreamID(s.Category(), s.ID())
		if err != nil || made != s {
			t.Errorf("%q: made %q, %v", text, made, err)
		}
	})
}
