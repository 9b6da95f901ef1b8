package snapshots

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The coders work on whole states, without goroutines, and are safe for concurrent use.
var (
	packer = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // options that do not fit each other
		}
		return e
	})
	unpacker = sync.OnceValue(func() *zstd.Decoder {
		// The output may not grow beyond the memory it is given.
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxStateBytes), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(0))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// pack compresses a state where that makes it smaller.
func (s *Snapshot) pack() {
	if packed := packer().EncodeAll(s.State, nil); len(packed) < len(s.State) {
		s.State, s.Zstd = packed, true
	}
}

// unpacked returns the state as msgpack.
func (s *Snapshot) unpacked() ([]byte, error) {
	if !s.Zstd {
		return s.State, nil
	}
	b, err := unpacker().DecodeAll(s.State, make([]byte, 0, s.Size))
	if err == nil && len(b) != s.Size {
		err = fmt.Errorf("%d bytes where %d are announced", len(b), s.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	return b, nil
}
