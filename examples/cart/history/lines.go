package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLineBytes bounds a line, so that a file without line ends does not fill the
// memory.
const maxLineBytes = 1 << 20

var errLineTooLong = fmt.Errorf("it is longer than %d bytes", maxLineBytes)

// lineReader splits its input into lines and counts them.
type lineReader struct {
	input  *bufio.Reader
	number int // of the line read last, from 1
	long   []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{input: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line without its end. It is valid until the next call,
// and the caller may write into it. After the last line the error is io.EOF; for
// a line that is too long it is a *LineError, and reading can go on.
func (l *lineReader) next() ([]byte, error) {
	l.number++
	line, err := l.input.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = l.rest(line)
	}
	switch {
	case err == nil:
	case err == io.EOF && len(line) > 0:
		// The last line may lack its end.
	case err == io.EOF:
		return nil, err
	case errors.As(err, new(*LineError)):
		return nil, err
	default:
		// What came before a failure may be half a line.
		return nil, fmt.Errorf("line %d: %w", l.number, explainRead(err))
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// rest reads on after the beginning of a line that does not fit the buffer.
func (l *lineReader) rest(begin []byte) ([]byte, error) {
	l.long = append(l.long[:0], begin...)
	for {
		more, err := l.input.ReadSlice('\n')
		if len(l.long) <= maxLineBytes {
			l.long = append(l.long, more...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if (err == nil || err == io.EOF) && len(bytes.TrimRight(l.long, "\r\n")) > maxLineBytes {
			return nil, &LineError{Line: l.number, Err: errLineTooLong}
		}
		return l.long, err
	}
}

func explainRead(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the file is cut off", err)
	}
	return err
}
