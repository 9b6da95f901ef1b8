package eventstore_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// Three generations of one event.
type (
	addedV1 struct {
		Item string `msgpack:"item"`
	}
	addedV2 struct {
		Item     string `msgpack:"item"`
		Quantity int    `msgpack:"quantity"`
	}
	added struct {
		SKU      string `msgpack:"sku"`
		Quantity int    `msgpack:"quantity"`
	}
	cleared struct{}
)

var errNoItem = errors.New("there is no item")

func newRegistry(options ...eventstore.RegistryOption) *eventstore.Registry {
	r := eventstore.NewRegistry(options...)
	eventstore.Register[addedV1](r, "item_added", 1)
	eventstore.Register[addedV2](r, "item_added", 2)
	eventstore.Register[added](r, "item_added", 3)
	eventstore.Register[cleared](r, "cleared", 1)
	eventstore.Upcast(r, "item_added", 1, func(old addedV1) (addedV2, error) {
		if old.Item == "" {
			return addedV2{}, errNoItem
		}
		return addedV2{Item: old.Item, Quantity: 1}, nil
	})
	eventstore.Upcast(r, "item_added", 2, func(old addedV2) (added, error) {
		return added{SKU: "sku-" + old.Item, Quantity: old.Quantity}, nil
	})
	return r
}

// stored returns an event as a store would hold it, at cart-42@7.
func stored(t *testing.T, name string, schema int, payload any) *eventstore.Recorded {
	t.Helper()
	return &eventstore.Recorded{
		Stream: eventstore.MustStreamID("cart", "42"), Version: 7,
		Event: eventstore.Event{ID: uuid.UUID{1}, Type: name, SchemaVersion: schema, Data: marshal(t, payload)},
	}
}

// isAbout fails the test unless err is about cart-42@7, wraps cause and says all
// of that.
func isAbout(t *testing.T, err, cause error, says ...string) {
	t.Helper()
	wrong := new(eventstore.EventError)
	if !errors.As(err, &wrong) || wrong.Stream.String() != "cart-42" || wrong.Version != 7 || !errors.Is(err, cause) {
		t.Errorf("got %v, want an error about cart-42@7 that wraps %q", err, cause)
		return
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want that it says %q", err, want)
		}
	}
}

func TestRegistryEncode(t *testing.T) {
	r := newRegistry()
	e, err := r.Encode(added{SKU: "x", Quantity: 3})
	if err != nil || e.Type != "item_added" || e.SchemaVersion != 3 || e.ID.Version() != 7 || e.Time.IsZero() {
		t.Fatalf("got %+v, %v", e, err)
	}
	got, err := r.Decode(&eventstore.Recorded{Event: e})
	if want := (&added{SKU: "x", Quantity: 3}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	other, err := r.Encode(added{SKU: "x", Quantity: 3})
	if err != nil || other.ID == e.ID {
		t.Errorf("the same id twice: %s, %v", other.ID, err)
	}

	if _, err := r.Encode(addedV2{Item: "x"}); !errors.Is(err, eventstore.ErrInvalidEvent) || !strings.Contains(err.Error(), "schema 3") {
		t.Errorf("an old schema: got %v", err)
	}
	for _, v := range []any{nil, 5, &added{}, struct{}{}} {
		if _, err := r.Encode(v); !errors.Is(err, eventstore.ErrUnknownType) {
			t.Errorf("%T: got %v", v, err)
		}
	}
}

func TestRegistryNewest(t *testing.T) {
	r := newRegistry()
	for v, want := range map[any]string{added{}: "item_added", cleared{}: "cleared", addedV2{}: "", 5: ""} {
		if name, ok := r.Newest(reflect.TypeOf(v)); name != want || ok != (want != "") {
			t.Errorf("%T: got %q, %t", v, name, ok)
		}
	}
}

func TestScenario24OlderSchemaIsLifted(t *testing.T) {
	r := newRegistry()
	for schema, c := range map[int]struct {
		payload any
		want    added
	}{
		1: {addedV1{Item: "tea"}, added{SKU: "sku-tea", Quantity: 1}},
		2: {addedV2{Item: "tea", Quantity: 5}, added{SKU: "sku-tea", Quantity: 5}},
		3: {added{SKU: "tea", Quantity: 5}, added{SKU: "tea", Quantity: 5}},
	} {
		e := stored(t, "item_added", schema, c.payload)
		got, err := r.Decode(e)
		if err != nil || !reflect.DeepEqual(got, &c.want) {
			t.Errorf("schema %d: got %+v, %v, want %+v", schema, got, err, c.want)
		}
		into := added{SKU: "left over"}
		if ok, err := eventstore.DecodeInto(r, e, &into); !ok || err != nil || into != c.want {
			t.Errorf("schema %d: decoded into %+v, %t, %v, want %+v", schema, into, ok, err, c.want)
		}
	}

	// An upcaster that fails.
	e := stored(t, "item_added", 1, addedV1{})
	_, err := r.Decode(e)
	isAbout(t, err, eventstore.ErrPayload, "upcasting item_added from schema 1")
	isAbout(t, err, errNoItem)
	var into added
	_, err = eventstore.DecodeInto(r, e, &into)
	isAbout(t, err, errNoItem)
}

func TestScenario24NewerSchema(t *testing.T) {
	// Skipping unknown types is no leave to skip what a newer program wrote.
	for _, policy := range []eventstore.UnknownPolicy{eventstore.FailUnknown, eventstore.SkipUnknown} {
		r := newRegistry(eventstore.WithUnknown(policy))
		e := stored(t, "item_added", 4, added{})
		_, err := r.Decode(e)
		isAbout(t, err, eventstore.ErrNewerSchema, "item_added schema 4", "knows up to 3", "upgrade this worker")
		var into added
		_, err = eventstore.DecodeInto(r, e, &into)
		isAbout(t, err, eventstore.ErrNewerSchema)
	}
}

func TestScenario24MissingUpcaster(t *testing.T) {
	r := eventstore.NewRegistry()
	eventstore.Register[addedV1](r, "item_added", 1)
	eventstore.Register[added](r, "item_added", 3)
	_, err := r.Decode(stored(t, "item_added", 1, addedV1{Item: "x"}))
	isAbout(t, err, eventstore.ErrUnknownType, "no upcaster from schema 1 to 2")
	_, err = r.Decode(stored(t, "item_added", 2, addedV2{Item: "x"}))
	isAbout(t, err, eventstore.ErrUnknownType, "schema 2 is not registered", "register the old type and an upcaster")
}

func TestScenario24UnknownType(t *testing.T) {
	e := stored(t, "never_heard_of", 1, 5)
	var into added

	failing := newRegistry()
	_, err := failing.Decode(e)
	isAbout(t, err, eventstore.ErrUnknownType, `"never_heard_of"`)
	_, err = eventstore.DecodeInto(failing, e, &into)
	isAbout(t, err, eventstore.ErrUnknownType)

	skipping := newRegistry(eventstore.WithUnknown(eventstore.SkipUnknown))
	if v, err := skipping.Decode(e); v != nil || err != nil {
		t.Errorf("skipping: got %v, %v", v, err)
	}
	if ok, err := eventstore.DecodeInto(skipping, e, &into); ok || err != nil {
		t.Errorf("skipping: decoded %t, %v", ok, err)
	}

	// A name made to fill the log does not.
	_, err = failing.Decode(stored(t, strings.Repeat("x", 1<<20), 1, 5))
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("the message has %d bytes", len(fmt.Sprint(err)))
	}
}

func TestScenario23BadPayloadNamesItsEvent(t *testing.T) {
	r := newRegistry()
	for name, payload := range map[string][]byte{
		"bomb": {0xdd, 0xff, 0xff, 0xff, 0xff}, "text for a number": marshal(t, map[string]any{"quantity": "x"}),
		"overflow": marshal(t, map[string]any{"quantity": uint64(1 << 63)}), "trailing": {0x80, 0x80}, "empty": {},
	} {
		e := stored(t, "item_added", 3, nil)
		e.Data = payload
		_, err := r.Decode(e)
		isAbout(t, err, eventstore.ErrPayload, "item_added schema 3")
		var into added
		if ok, err := eventstore.DecodeInto(r, e, &into); ok {
			t.Errorf("%s: decoded", name)
		} else {
			isAbout(t, err, eventstore.ErrPayload, "item_added schema 3")
		}
	}
}

func TestDecodeIntoWrongType(t *testing.T) {
	r := newRegistry()
	var into cleared
	for _, schema := range []int{1, 3} {
		_, err := eventstore.DecodeInto(r, stored(t, "item_added", schema, addedV1{Item: "x"}), &into)
		isAbout(t, err, eventstore.ErrPayload, "registered as eventstore_test.added", "wanted eventstore_test.cleared")
	}
	// What is stored by an old schema is lifted: nobody gets it as it was, whether
	// or not there are newer ones beside it.
	var old addedV1
	for _, schema := range []int{1, 3} {
		_, err := eventstore.DecodeInto(r, stored(t, "item_added", schema, addedV1{Item: "x"}), &old)
		isAbout(t, err, eventstore.ErrPayload, "wanted eventstore_test.addedV1")
	}
}

func TestRegisterPanics(t *testing.T) {
	type other struct{}
	for name, c := range map[string]struct {
		call func(*eventstore.Registry)
		says string
	}{
		"no name":                     {func(r *eventstore.Registry) { eventstore.Register[other](r, "", 1) }, "type is empty"},
		"a name not UTF-8":            {func(r *eventstore.Registry) { eventstore.Register[other](r, "\xff", 1) }, "UTF-8"},
		"schema 0":                    {func(r *eventstore.Registry) { eventstore.Register[other](r, "other", 0) }, "schema version 0"},
		"a pointer":                   {func(r *eventstore.Registry) { eventstore.Register[*other](r, "other", 1) }, "register the value type"},
		"an interface":                {func(r *eventstore.Registry) { eventstore.Register[error](r, "other", 1) }, "register the value type"},
		"a type twice":                {func(r *eventstore.Registry) { eventstore.Register[added](r, "other", 1) }, "registered as item_added schema 3"},
		"a schema twice":              {func(r *eventstore.Registry) { eventstore.Register[other](r, "item_added", 3) }, "registered as eventstore_test.added"},
		"upcasting an unknown name":   {func(r *eventstore.Registry) { upcast[addedV1, addedV2](r, "x", 1) }, "schema 1 is not registered"},
		"upcasting an unknown schema": {func(r *eventstore.Registry) { upcast[addedV1, addedV2](r, "item_added", 4) }, "schema 4 is not registered"},
		"upcasting to no schema":      {func(r *eventstore.Registry) { upcast[added, other](r, "item_added", 3) }, "schema 4 is not registered"},
		"upcasting from another type": {func(r *eventstore.Registry) { upcast[other, addedV2](r, "item_added", 1) }, "schema 1 is not registered as"},
		"upcasting to another type":   {func(r *eventstore.Registry) { upcast[addedV1, added](r, "item_added", 1) }, "schema 2 is not registered as"},
		"upcasting twice":             {func(r *eventstore.Registry) { upcast[addedV1, addedV2](r, "item_added", 1) }, "has an upcaster already"},
	} {
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), c.says) {
					t.Errorf("%s: panic %v, want one that says %q", name, p, c.says)
				}
			}()
			c.call(newRegistry())
		}()
	}
}

func upcast[Old, New any](r *eventstore.Registry, name string, from int) {
	eventstore.Upcast(r, name, from, func(Old) (n New, err error) { return n, nil })
}

// plainText is a codec of the user's own.
type plainText struct{}

func (plainText) Marshal(v any) ([]byte, error) { return []byte(v.(added).SKU), nil }

func (plainText) Unmarshal(data []byte, v any) error {
	v.(*added).SKU = string(data)
	return nil
}

func TestWithCodec(t *testing.T) {
	r := eventstore.NewRegistry(eventstore.WithCodec(plainText{}))
	eventstore.Register[added](r, "item_added", 1)
	e, err := r.Encode(added{SKU: "tea"})
	if err != nil || string(e.Data) != "tea" {
		t.Fatalf("got %q, %v", e.Data, err)
	}
	if got, err := r.Decode(&eventstore.Recorded{Event: e}); err != nil || got.(*added).SKU != "tea" {
		t.Errorf("came back as %v, %v", got, err)
	}
}
