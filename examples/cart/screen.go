package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// screen is a terminal with a last line that changes, or another place where lines
// go. It is safe for concurrent use.
type screen struct {
	terminal bool
	mu       sync.Mutex // guards the rest
	w        io.Writer
	live     string // the line that is shown and will change
	closed   bool
}

func newScreen(w io.Writer) *screen {
	f, isFile := w.(*os.File)
	return &screen{w: w, terminal: isFile && term.IsTerminal(int(f.Fd()))}
}

// eraseLine begins the last line anew.
const eraseLine = "\r\x1b[K"

// Write writes whole lines, above the one that changes.
func (s *screen) Write(lines []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return len(lines), nil
	}
	if s.live == "" {
		return s.w.Write(lines)
	}
	io.WriteString(s.w, eraseLine)
	n, err := s.w.Write(lines)
	io.WriteString(s.w, s.live)
	return n, err
}

// show shows a line in place of the last one; what is no terminal gets one more.
func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if !s.terminal {
		io.WriteString(s.w, line+"\n")
		return
	}
	s.live = line
	io.WriteString(s.w, eraseLine+line)
}

// close takes away the line that changes. Nothing is written any more: what was left
// behind has nothing to say.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.live != "" {
		io.WriteString(s.w, eraseLine)
		s.live = ""
	}
}
