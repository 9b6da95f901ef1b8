package history

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// History is an opened file.
type History struct {
	// Form is "csv" or "ndjson".
	Form  string
	lines *lineReader
	close func()
	total int
}

// maxWindow bounds the memory that a zstd file can ask for.
const maxWindow = 128 << 20

// Open finds out whether its input is packed (gzip, zstd) and what is in it: the
// columns of UCI "Online Retail" as csv, or events as ndjson. It goes by
// content, so that standard input works like a file. The caller closes the
// History; the input stays open.
func Open(r io.Reader) (*History, error) {
	input := bufio.NewReaderSize(r, 64<<10)
	h := &History{close: func() {}}
	unpacked, err := h.unpack(input)
	if err != nil {
		return nil, err
	}
	h.lines = newLineReader(unpacked)
	first, err := firstByte(h.lines.input)
	if err != nil {
		h.Close()
		return nil, err
	}
	h.Form = "csv"
	if first == '{' {
		h.Form = "ndjson"
	}
	return h, nil
}

// unpack tells packed input by the magic bytes it begins with.
func (h *History) unpack(input *bufio.Reader) (io.Reader, error) {
	// Input shorter than that is no packed file; what is wrong with it, if
	// anything, shows in reading it.
	magic, _ := input.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(input)
		if err != nil {
			return nil, fmt.Errorf("unpacking gzip: %w", explainRead(err))
		}
		return unpacked, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unpacked, err := zstd.NewReader(input, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("unpacking zstd: %w", err)
		}
		h.close = unpacked.Close
		return unpacked, nil
	}
	return input, nil
}

// firstByte looks at the first byte that is no white space, past a byte order
// mark, which it takes away.
func firstByte(input *bufio.Reader) (byte, error) {
	if mark, _ := input.Peek(3); bytes.Equal(mark, []byte("\ufeff")) {
		input.Discard(len(mark))
	}
	for n := 1; n <= input.Size(); n++ {
		begin, err := input.Peek(n)
		switch {
		case err == io.EOF:
			return 0, ErrEmpty
		case err != nil:
			return 0, explainRead(err)
		case !bytes.ContainsAny(begin[n-1:], " \t\r\n"):
			return begin[n-1], nil
		}
	}
	return 0, ErrEmpty
}

// Facts yields what the file tells, in its order. It can be read once.
//
// A line that makes no sense is yielded as a [*LineError]; whoever goes on skips
// it. After any other error the sequence ends. A csv file is read to its end
// before the first fact comes, because only then is it known where invoices end.
func (h *History) Facts() iter.Seq2[Fact, error] {
	if h.Form == "ndjson" {
		return h.ndjson
	}
	return h.csv
}

// Total returns how many facts there are in all, 0 as long as that is not known.
// It may be called between two facts.
func (h *History) Total() int { return h.total }

// Close gives back what reading needed.
func (h *History) Close() { h.close() }
