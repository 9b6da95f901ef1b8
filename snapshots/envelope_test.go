package snapshots

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

var fuzzKey = Key{Definition: "aggregate.cart", Stream: eventstore.MustStreamID("cart", "42")}

// The stored form is a contract with snapshots that are there.
func TestStoredForm(t *testing.T) {
	made := Snapshot{
		Key: fuzzKey, Version: 7, EventID: uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"),
		Fingerprint: 0x0102030405060708, Schema: 3, UTC: true, Size: 2, State: []byte{0x91, 0x01},
	}
	b, err := Encode(&made)
	if err != nil {
		t.Fatal(err)
	}
	const want = "505301" + "02" + "0000000000000007" + "00112233445566778899aabbccddeeff" + "0102030405060708" + "00000003" + "00000002" + "e1e3431d38d86e97" + "9101"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("stored as\n%s, want\n%s", got, want)
	}
	back, err := Decode(fuzzKey, b)
	if err != nil || back.Version != 7 || back.EventID != made.EventID || !back.UTC || back.Zstd || !bytes.Equal(back.State, made.State) {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

// Any bytes, as they are and with a checksum that fits: nothing panics, nothing becomes
// larger than it may, and what is accepted is what would be stored.
func FuzzDecode(f *testing.F) {
	type state struct {
		Items map[string]int8
		Lists [][]string
		Any   *state
	}
	states := make([]*States[state], 2)
	for i, packed := range []bool{false, true} {
		s, err := NewStates(Config{Store: forgetful{}, Schema: 1, Zstd: packed}, "aggregate.cart", "fold", state{})
		if err != nil {
			f.Fatal(err)
		}
		states[i] = s
		for _, v := range []state{{}, {Items: map[string]int8{"tea": 1, "mug": -128}}, {Lists: [][]string{{"a", "b"}, nil, make([]string, 100)}, Any: &state{}}} {
			e := Entry[state]{Stream: fuzzKey.Stream, Version: 7, EventID: uuid.UUID{1}, State: v}
			made, err := s.encode(&e)
			if err != nil {
				f.Fatal(err)
			}
			b, err := Encode(&made)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
			f.Add(b[:len(b)-1])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Decode(fuzzKey, b); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("got %v", err)
		}
		if len(b) < headerBytes {
			return
		}
		// A checksum keeps out what happened by accident; it must not be all there is.
		b = bytes.Clone(b)
		copy(b, magic)
		binary.BigEndian.PutUint64(b[atFold:], states[0].fingerprint)
		binary.BigEndian.PutUint32(b[atSchema:], 1)
		binary.BigEndian.PutUint64(b[atChecksum:], checksum(fuzzKey, b))
		found, err := Decode(fuzzKey, b)
		if err != nil {
			return
		}
		if again, err := Encode(&found); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x was accepted, but would be stored as %x, %v", b, again, err)
		}
		var e Entry[state]
		outcome, err := states[0].decode(&found, &e)
		switch {
		case outcome == Used && err == nil && e.Version == found.Version && e.EventID == found.EventID:
		case outcome == Corrupt && errors.Is(err, ErrCorrupt) && e.Version == 0 && e.State.Items == nil && e.State.Lists == nil && e.State.Any == nil:
		default:
			t.Fatalf("%s, %v, %+v", outcome, err, e)
		}
	})
}

// forgetful is a store that is never asked.
type forgetful struct{ Store }
