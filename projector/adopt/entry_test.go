package adopt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
)

func TestParseID(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0-0", "1727961512345-0", "18446744073709551615-18446744073709551615"} {
		id, err := ParseID(text)
		if err != nil || id.String() != text {
			t.Errorf("%s is read as %s (%v)", text, id, err)
		}
		if id.Time().Before((ID{}).Time()) {
			t.Errorf("the time of %s is %s", text, id.Time())
		}
	}
	for _, text := range []string{"", "1", "1-", "-1", "1-2-3", "a-b", "18446744073709551616-0", "-1-1"} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("%q is read as %s", text, id)
		}
	}
	if (ID{2, 1}).Compare(ID{1, 9}) <= 0 || (ID{2, 1}).Compare(ID{2, 2}) >= 0 {
		t.Error("ids are in another order")
	}
}

func TestPositionText(t *testing.T) {
	t.Parallel()
	for _, p := range []Position{{}, {ID: ID{1, 2}, Added: 3, Lost: 4}, {ID: ID{1, 2}, Added: Unknown}} {
		if got, err := parsePosition(p.text()); err != nil || got != p {
			t.Errorf("%+v is kept as %q, which is read as %+v (%v)", p, p.text(), got, err)
		}
	}
	for _, text := range []string{"", "1-1", "1-1 x 1", "1-1 1 -", "1 1 1"} {
		if p, err := parsePosition(text); err == nil {
			t.Errorf("%q is read as %+v", text, p)
		}
	}
}

// TestFields checks what entries are decoded to, and that errors name entry, key and field.
func TestFields(t *testing.T) {
	t.Parallel()
	entry := Entry{Key: "readings:kitchen:2", ID: ID{7, 1}, Fields: []Field{{"t", "21"}, {"h", "1.5"}, {"id", "9"}, {"kind", "read"}, {"t", "22"}}}
	for _, test := range []struct {
		name string
		f    Fields
		want string // the event, or the error
	}{
		{"Field", Fields{Category: "room", ID: "id", Type: "reading"}, "room-9 reading map[h:1.5 id:9 kind:read t:22] string"},
		{"Part", Fields{Category: "room", Part: "readings:*:2", TypeField: "kind", Numbers: []string{"t", "gone"}}, "room-kitchen read map[h:1.5 id:9 kind:read t:22] int64"},
		{"Float", Fields{Category: "room", ID: "id", Type: "x", Numbers: []string{"h"}}, "room-9 x map[h:1.5 id:9 kind:read t:22] string"},
		{"Only", Fields{Category: "room", ID: "id", TypeField: "kind", Only: []string{"written"}}, "none"},
		{"NoNumber", Fields{Category: "room", ID: "id", Type: "x", Numbers: []string{"kind"}}, `entry 7-1 of readings:kitchen:2: field "kind" is "read", which is no number`},
		{"Missing", Fields{Category: "room", ID: "room", Type: "x"}, `entry 7-1 of readings:kitchen:2: field "room" is missing`},
		{"NoType", Fields{Category: "room", ID: "id", TypeField: "type"}, `field "type" is missing`},
		{"NoMatch", Fields{Category: "room", Part: "sensors:*", Type: "x"}, `does not match "sensors:*"`},
		{"TwoStars", Fields{Category: "room", Part: "*:*", Type: "x"}, "does not have one *"},
		{"NoEntity", Fields{Category: "room", Type: "x"}, "neither ID nor Part"},
		{"NoCategory", Fields{ID: "id", Type: "x"}, "invalid stream"},
	} {
		got := "none"
		all, err := test.f.Decode(entry)
		if err != nil {
			got = err.Error()
		}
		for _, a := range all {
			of := make(map[string]any)
			if err := (eventstore.MsgPack{}).Unmarshal(a.Data, &of); err != nil {
				t.Fatal(err)
			}
			got = fmt.Sprintf("%s %s %v %T", a.Stream, a.Type, of, of["t"])
			if _, ok := of["t"].(int8); ok {
				got = fmt.Sprintf("%s %s %v int64", a.Stream, a.Type, of)
			}
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if _, err := entry.Int("h"); err == nil || !strings.Contains(err.Error(), "no whole number") {
		t.Errorf("a whole number: %v", err)
	}
}

// TestEventID checks that ids depend on all that tells events apart, and on nothing else.
func TestEventID(t *testing.T) {
	t.Parallel()
	s, e := Source{Name: "a"}, Entry{Key: "k", ID: ID{1, 2}}
	id := s.eventID(e, 0)
	if id != s.eventID(Entry{Key: "k", ID: ID{1, 2}, Fields: []Field{{"x", "y"}}}, 0) {
		t.Error("the same event has another id")
	}
	for _, other := range []string{
		Source{Name: "b"}.eventID(e, 0).String(), s.eventID(e, 1).String(),
		s.eventID(Entry{Key: "l", ID: ID{1, 2}}, 0).String(), s.eventID(Entry{Key: "k", ID: ID{1, 3}}, 0).String(),
	} {
		if other == id.String() {
			t.Error("another event has the same id")
		}
	}
}

// TestConfig checks what is refused before anything is connected to.
func TestConfig(t *testing.T) {
	t.Parallel()
	decode := Fields{}.Decode
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for says, s := range map[string]Source{
		"like that of a category":      {Name: "A", Keys: []string{"k"}, Decode: decode},
		"neither Keys nor a Pattern":   {Name: "a", Decode: decode},
		"has a redis.Ring":             {Name: "a", Keys: []string{"k"}, Decode: decode, Client: ring},
		"has no Decode":                {Name: "a", Keys: []string{"k"}},
		"Discover is -1s":              {Name: "a", Keys: []string{"k"}, Decode: decode, Discover: -1e9},
		"is of namespace shop itself":  {Name: "a", Keys: []string{"{shop:3}:log"}, Decode: decode},
		"is of namespace shop itself ": {Name: "a", Keys: []string{"{shop}:meta"}, Decode: decode},
	} {
		if _, err := New(Config{Namespace: "shop", Source: s}); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(says)) {
			t.Errorf("got %v, want that it says %s", err, says)
		}
	}
}

// TestManyFields checks that an entry of very many fields takes no longer than it has to. With
// what grows with their square it takes a minute.
func TestManyFields(t *testing.T) {
	t.Parallel()
	e := Entry{Key: "k", ID: ID{1, 1}, Fields: []Field{{"id", "1"}}}
	for n := range 100_000 {
		e.Fields = append(e.Fields, Field{fmt.Sprint("f", n), "1"})
	}
	begin := time.Now()
	if _, err := (Fields{Category: "room", ID: "id", Type: "x"}).Decode(e); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	e.Fields = append(e.Fields, Field{"more", strings.Repeat("x", eventstore.MaxEventBytes)})
	if _, err := (Fields{Category: "room", ID: "id", Type: "x"}).Decode(e); !errors.Is(err, eventstore.ErrInvalidEvent) {
		t.Errorf("more than an event may have: %v", err)
	}
}
