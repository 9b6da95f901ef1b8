package snapshots_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

type (
	hidden struct {
		//lint:ignore U1000 it is what is refused
		n int
	}
	Pointed struct {
		//lint:ignore U1000 as above
		*hidden
	}
	Tagged struct {
		In struct {
			Out []int `msgpack:"-,omitempty"`
		}
	}
	Deep struct {
		Lines map[string][]struct{ Price *hidden }
	}
	Any       struct{ V any }
	Stringer  struct{ V interface{ String() string } }
	Func      struct{ F func() }
	Chan      struct{ Cs [3]chan int }
	Complex   struct{ C complex128 }
	ByKey     struct{ M map[hidden]int }
	OnlyOut   struct{ V onlyOut }
	OnlyIn    struct{ V *onlyIn }
	Recursive struct {
		Kids   []Recursive
		Parent *Recursive
		Bad    any
	}
	Marked struct {
		//lint:ignore U1000 the msgpack library looks for it
		_msgpack struct{} `msgpack:",as_array"`
		_        struct{}
		A        int
	}
	Embeds struct {
		Marked
		*Line
		Own    custom
		Owns   map[custom]*custom
		At     *time.Time
		Stream eventstore.StreamID
		ID     uuid.UUID
		Bytes  [4]byte
		Kids   []Embeds
	}
	onlyOut struct{}
	onlyIn  struct{}
	custom  struct{ n int }
)

func (onlyOut) MarshalText() ([]byte, error)                   { return nil, nil }
func (*onlyIn) DecodeMsgpack(*msgpack.Decoder) error           { return nil }
func (c custom) EncodeMsgpack(e *msgpack.Encoder) error        { return e.EncodeInt(int64(c.n)) }
func (c *custom) DecodeMsgpack(d *msgpack.Decoder) (err error) { c.n, err = d.DecodeInt(); return err }

func TestTypesRefused(t *testing.T) {
	for says, make := range map[string]func(snapshots.Config) error{
		"field n: it is unexported":                   newStates[hidden],
		"field hidden: it is unexported":              newStates[Pointed],
		"field In.Out: its tag has msgpack leave it":  newStates[Tagged],
		"field Lines[][].Price.n: it is unexported":   newStates[Deep],
		"field V: it is an interface, interface {}":   newStates[Any],
		"field V: it is an interface, interface { St": newStates[Stringer],
		"field F: msgpack has no form for a func":     newStates[Func],
		"field Cs[]: msgpack has no form for a chan":  newStates[Chan],
		"field C: msgpack has no form for a complex":  newStates[Complex],
		"field M[key].n: it is unexported":            newStates[ByKey],
		"field V: snapshots_test.onlyOut is a encod":  newStates[OnlyOut],
		"field V: snapshots_test.onlyIn is a msgpack": newStates[OnlyIn],
		"field Bad: it is an interface":               newStates[Recursive],
		"cannot be kept: it is an interface":          newStates[any],
	} {
		if err := make(snapshots.Config{Store: newMemory(), Schema: 1}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v; want that it says %q", err, says)
		}
	}
}

func newStates[S any](config snapshots.Config) error {
	_, err := snapshots.NewStates(config, "aggregate.cart", "fold", *new(S))
	return err
}

func TestTypesAccepted(t *testing.T) {
	for name, make := range map[string]func(snapshots.Config) error{
		"cart": newStates[Cart], "map": newStates[map[string]int64], "int": newStates[int], "string": newStates[string],
		"pointer": newStates[*Cart], "nothing": newStates[struct{}], "custom": newStates[custom], "time": newStates[time.Time],
	} {
		if err := make(snapshots.Config{Store: newMemory(), Schema: 1}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The initial state tells what the type does not: a stream that names nothing does
	// not decode, and an embedded pointer that is nil comes back as one that is not.
	for says, initial := range map[string]Embeds{
		"":               {Stream: cart42, Line: new(Line)},
		"invalid stream": {Line: new(Line)},
		"field Line":     {Stream: cart42},
	} {
		_, err := snapshots.NewStates(snapshots.Config{Store: newMemory(), Schema: 1}, "aggregate.cart", "fold", initial)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v; want that it says %q", err, says)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for says, c := range map[string]snapshots.Config{
		"no Store":    {Schema: 1},
		"Schema is 0": {Store: newMemory()},
		"Schema is -": {Store: newMemory(), Schema: -1},
	} {
		if err := newStates[Cart](c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v; want that it says %q", err, says)
		}
	}
	for _, name := range []string{"", "A", "a:b", "a-b", "1a", strings.Repeat("a", 101)} {
		if _, err := snapshots.NewStates(snapshots.Config{Store: newMemory(), Schema: 1}, name, "fold", Cart{}); err == nil {
			t.Errorf("the definition %q was accepted", name)
		}
	}
}
