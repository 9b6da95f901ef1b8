package snapshots

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"

	"github.com/projectord/projectord/eventstore"
)

// The stored form of a snapshot is a header of fixed width and the state. Numbers are
// big-endian, so that bytes compare as numbers do.
//
//	 0  "PS", 1   what this is, and the version of this form
//	 3  flags     1: compressed by zstd, 2: times are in UTC
//	 4  version   8 bytes
//	12  event id  16 bytes
//	28  fingerprint of the fold, 8 bytes
//	36  schema    4 bytes
//	40  size of the state when it is not compressed, 4 bytes
//	44  checksum  xxHash64 of all the rest and of the key, 8 bytes
//	52  state
const (
	magic        = "PS\x01"
	atVersion    = 4
	atEvent      = 12
	atFold       = 28
	atSchema     = 36
	atSize       = 40
	atChecksum   = 44
	headerBytes  = 52
	flagZstd     = 1
	flagUTC      = 2
	knownFlags   = flagZstd | flagUTC
	maxVersion   = math.MaxInt64
	maxSchema    = math.MaxInt32
	maxStateSize = MaxStateBytes
)

// MaxBytes bounds an encoded snapshot.
const MaxBytes = headerBytes + MaxStateBytes

// Stores compare what they hold with what they are given without decoding either: of
// two encoded snapshots, the bytes up to MagicEnd and those from FoldStart to FoldEnd
// are the same where the same fold made them, and those from VersionStart to VersionEnd
// are the version.
const (
	MagicEnd                 = 3
	VersionStart, VersionEnd = atVersion, atEvent
	FoldStart, FoldEnd       = atFold, atSize
)

// Encode returns the stored form of a snapshot. An error wraps [ErrTooLarge], or says
// what is wrong with a field.
func Encode(s *Snapshot) ([]byte, error) {
	if s.Size > maxStateSize || len(s.State) > maxStateSize {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, max(s.Size, len(s.State)), MaxStateBytes)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("snapshots: encoding the snapshot of %s: %w", s.Key, err)
	}
	b := make([]byte, headerBytes, headerBytes+len(s.State))
	copy(b, magic)
	if s.Zstd {
		b[3] |= flagZstd
	}
	if s.UTC {
		b[3] |= flagUTC
	}
	binary.BigEndian.PutUint64(b[atVersion:], uint64(s.Version))
	copy(b[atEvent:], s.EventID[:])
	binary.BigEndian.PutUint64(b[atFold:], s.Fingerprint)
	binary.BigEndian.PutUint32(b[atSchema:], s.Schema)
	binary.BigEndian.PutUint32(b[atSize:], uint32(s.Size))
	b = append(b, s.State...)
	binary.BigEndian.PutUint64(b[atChecksum:], checksum(s.Key, b))
	return b, nil
}

// Decode reads the stored form of the snapshot of a key. Every error wraps
// [ErrCorrupt]. State shares memory with b. Any byte of b that was changed is found,
// as far as a checksum of 64 bits can; so is a snapshot of another key.
func Decode(k Key, b []byte) (Snapshot, error) {
	s, err := decode(k, b)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%w of %s: %w", ErrCorrupt, k, err)
	}
	return s, nil
}

func decode(k Key, b []byte) (Snapshot, error) {
	switch {
	case len(b) < headerBytes:
		return Snapshot{}, fmt.Errorf("%d bytes are less than a header", len(b))
	case len(b) > MaxBytes:
		return Snapshot{}, fmt.Errorf("%d bytes are more than %d", len(b), MaxBytes)
	case !bytes.HasPrefix(b, []byte(magic)):
		return Snapshot{}, fmt.Errorf("it begins with %x, not %x", b[:len(magic)], magic)
	case binary.BigEndian.Uint64(b[atChecksum:]) != checksum(k, b):
		return Snapshot{}, fmt.Errorf("the checksum is wrong")
	case b[3]&^knownFlags != 0:
		return Snapshot{}, fmt.Errorf("flags %#02x are not known", b[3])
	}
	s := Snapshot{
		Key:         k,
		Version:     eventstore.Version(binary.BigEndian.Uint64(b[atVersion:])),
		EventID:     [16]byte(b[atEvent:atFold]),
		Fingerprint: binary.BigEndian.Uint64(b[atFold:]),
		Schema:      binary.BigEndian.Uint32(b[atSchema:]),
		UTC:         b[3]&flagUTC != 0,
		Zstd:        b[3]&flagZstd != 0,
		Size:        int(binary.BigEndian.Uint32(b[atSize:])),
		State:       b[headerBytes:],
	}
	return s, s.check()
}

// check returns an error about fields that no snapshot has.
func (s *Snapshot) check() error {
	switch {
	case s.Version < 1 || s.Version > maxVersion:
		return fmt.Errorf("version %d; they are 1 to %d", s.Version, int64(maxVersion))
	case s.Schema < 1 || s.Schema > maxSchema:
		return fmt.Errorf("schema %d; they are 1 to %d", s.Schema, maxSchema)
	case s.Size < 0 || s.Size > maxStateSize:
		return fmt.Errorf("a state of %d bytes", s.Size)
	case !s.Zstd && s.Size != len(s.State):
		return fmt.Errorf("a state of %d bytes that says it has %d", len(s.State), s.Size)
	}
	return nil
}

// checksum covers the key and everything but itself.
func checksum(k Key, b []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.WriteString(k.String())
	d.Write(b[:atChecksum])
	d.Write(b[headerBytes:])
	return d.Sum64()
}
