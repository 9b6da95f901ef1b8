package testenv

import (
	"bytes"
	"sync"
)

// Transcript is what was written until now, such as the log of a process. The zero
// Transcript is empty. It is safe for concurrent use.
type Transcript struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements [io.Writer].
func (t *Transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

// String returns what was written until now.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
