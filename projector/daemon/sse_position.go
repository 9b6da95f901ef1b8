package daemon

import (
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// vector is where a client of the changes of a projection stands: everything before a
// place in each partition it was told, as of a generation.
type vector struct {
	generation projector.Generation
	places     []lease.Place
}

// vectorFormat is the first byte of the binary form. What follows is a fingerprint of
// the namespace and the projection, and then numbers of variable length: the generation,
// how many partitions there are, the latest time among the places, and of each place how
// much earlier it is, and its number within the millisecond doubled, plus one where the
// entry is done with.
const vectorFormat = 1

// errVector is why a client cannot go on from a place.
var errVector = errors.New("this is no place in the changes of this projection")

// encode returns the form that clients get, in which nothing is for them to read.
func (v vector) encode(namespace, projection string) string {
	b := []byte{vectorFormat}
	b = binary.BigEndian.AppendUint32(b, vectorOf(namespace, projection))
	b = binary.AppendUvarint(b, uint64(v.generation))
	b = binary.AppendUvarint(b, uint64(len(v.places)))
	latest := uint64(0)
	for _, p := range v.places {
		latest = max(latest, p.Entry.Millis)
	}
	b = binary.AppendUvarint(b, latest)
	for _, p := range v.places {
		number := p.Entry.Number << 1
		if p.Done {
			number |= 1
		}
		b = binary.AppendUvarint(b, latest-p.Entry.Millis)
		b = binary.AppendUvarint(b, number)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeVector reads what encode wrote for the same projection of a namespace with as
// many partitions.
func decodeVector(text, namespace, projection string, partitions int) (vector, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 5 || b[0] != vectorFormat || binary.BigEndian.Uint32(b[1:]) != vectorOf(namespace, projection) {
		return vector{}, errVector
	}
	b = b[5:]
	whole := true
	next := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			whole, size = false, 0
		}
		b = b[size:]
		return n
	}
	v := vector{generation: projector.Generation(next())}
	if next() != uint64(partitions) || v.generation < 1 {
		return vector{}, errVector
	}
	latest := next()
	for range partitions {
		earlier, number := next(), next()
		if earlier > latest {
			return vector{}, errVector
		}
		v.places = append(v.places, lease.Place{Entry: lease.EntryID{Millis: latest - earlier, Number: number >> 1}, Done: number&1 == 1})
	}
	if !whole || len(b) > 0 {
		return vector{}, errVector
	}
	return v, nil
}

func vectorOf(namespace, projection string) uint32 {
	return uint32(xxhash.Sum64String(namespace + "/" + projection))
}
