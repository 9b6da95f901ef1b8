package snapshottest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/projectord/projectord/snapshots"
)

// testFlipped flips a bit of every byte that is stored.
func testFlipped(s *store) {
	whole := of("42", 7, "the state")
	s.save(whole)
	stored := s.raw(whole.Key)
	for i := range stored {
		for _, bit := range []byte{0x01, 0x80} {
			damaged := bytes.Clone(stored)
			damaged[i] ^= bit
			s.setRaw(whole.Key, damaged)
			s.wantCorrupt(whole.Key, fmt.Sprintf("byte %d ^ %#02x", i, bit))
		}
	}
	s.setRaw(whole.Key, stored)
	s.want(whole)
}

func testTruncated(s *store) {
	whole := of("42", 7, "the state")
	s.save(whole)
	stored := s.raw(whole.Key)
	for n := 1; n < len(stored); n++ {
		s.setRaw(whole.Key, stored[:n])
		s.wantCorrupt(whole.Key, fmt.Sprintf("%d bytes of %d", n, len(stored)))
	}
	s.setRaw(whole.Key, append(bytes.Clone(stored), 0))
	s.wantCorrupt(whole.Key, "one byte more")
}

func testTooLong(s *store) {
	s.setRaw(key("42"), make([]byte, snapshots.MaxBytes+5))
	s.wantCorrupt(key("42"), "more bytes than there can be")
	// It is that key's failure alone.
	whole := of("43", 1, "x")
	s.save(whole)
	found, failed, err := s.Load(s.Context(), []snapshots.Key{key("42"), whole.Key})
	if err != nil || len(failed) != 2 || !errors.Is(failed[0], snapshots.ErrCorrupt) || failed[1] != nil || !equal(found[1], whole) {
		s.Errorf("Load = %v, %v, %v; want the first alone corrupt", found, failed, err)
	}
}

// testOfAnotherKey puts a whole snapshot under keys that are not its own.
func testOfAnotherKey(s *store) {
	whole := of("42", 7, "the state")
	s.save(whole)
	stored := s.raw(whole.Key)
	stream, fold := key("43"), whole.Key
	fold.Definition = "aggregate.carts"
	for _, k := range []snapshots.Key{stream, fold} {
		s.setRaw(k, stored)
		s.wantCorrupt(k, "the snapshot of another key")
	}
}

// testCorruptReplaced saves over bytes that are no snapshot, whatever they are.
func testCorruptReplaced(s *store) {
	for name, b := range map[string][]byte{
		"one byte":  {0},
		"text":      []byte("no snapshot"),
		"high":      bytes.Repeat([]byte{0xff}, 100),
		"too long":  make([]byte, snapshots.MaxBytes+5),
		"truncated": s.truncated("truncated"),
	} {
		s.setRaw(key(name), b)
		w := of(name, 7, "the state")
		s.save(w)
		s.want(w)
	}
}

// truncated returns the beginning of a snapshot of a higher version, without all of its
// header.
func (s *store) truncated(id string) []byte {
	s.Helper()
	newer := of(id, 100, "newer")
	s.save(newer)
	return s.raw(newer.Key)[:snapshots.FoldEnd-1]
}
