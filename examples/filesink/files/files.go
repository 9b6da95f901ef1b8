// Package files keeps documents as JSON files, one for each, in a directory for each
// generation. It is the example of docs/guides/new-sink.md. Any number of processes of one
// machine may write; one that dies halfway leaves no document half written. What was
// written last may be gone where the machine itself dies: nothing is synced to the disk.
package files

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/google/uuid"

	"github.com/projectord/projectord/projector"
)

// Sink keeps the documents of one projection below a directory. It is safe for concurrent
// use.
type Sink struct{ dir string }

// New returns a sink below a directory, which need not exist.
func New(dir string) *Sink { return &Sink{dir} }

// file is what is written: a document, and how far its stream was folded into it. Of a
// stream that was deleted there is the second alone.
type file struct {
	Position string            `json:"position"`
	Event    uuid.UUID         `json:"event"`
	Fields   map[string]string `json:"fields"` // null where there is no document
}

// Takes implements [projector.Sink].
func (s *Sink) Takes() projector.Form { return projector.Documents }

// Begin implements [projector.Sink].
func (s *Sink) Begin(ctx context.Context, g projector.Generation) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if g < 1 {
		return fmt.Errorf("files: there is no generation %d: they count from 1", g)
	}
	return os.MkdirAll(s.of(g), 0o755)
}

// Checkpoints implements [projector.Sink].
func (s *Sink) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	at, failed := make([]projector.Checkpoint, len(keys)), []error(nil)
	for i, key := range keys {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		_, checkpoint, err := s.read(g, key)
		if errors.Is(err, errDamaged) {
			if failed == nil {
				failed = make([]error, len(keys))
			}
			failed[i] = err
		} else if err != nil {
			return nil, nil, err
		}
		at[i] = checkpoint
	}
	return at, failed, nil
}

// Commit implements [projector.Sink].
func (s *Sink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) (refused []error, err error) {
	for i, c := range changes {
		if ctx.Err() != nil {
			return refused, ctx.Err()
		}
		err := s.change(g, c)
		if one := new(projector.RefusedError); err != nil && !errors.As(err, &one) && !errors.Is(err, errDamaged) && !errors.Is(err, errDocument) {
			return refused, err
		}
		if err != nil && refused == nil {
			refused = make([]error, len(changes))
		}
		if err != nil {
			refused[i] = err
		}
	}
	return refused, nil
}

// errDocument says that a document cannot be kept.
var errDocument = errors.New("a document that cannot be kept")

// change makes one change by compare-and-set: nobody else does so meanwhile.
func (s *Sink) change(g projector.Generation, c projector.Change) error {
	unlock, err := s.lock(g)
	if err != nil {
		return err
	}
	defer unlock()
	_, at, err := s.read(g, c.Key)
	switch {
	case err != nil:
		return err
	case at == c.To && c.From != c.To:
		return nil // it was made before
	case at != c.From:
		return &projector.RefusedError{Stream: c.Stream, From: c.From, Actual: at}
	}
	f := file{Position: c.To.Position.String(), Event: c.To.EventID}
	if c.Document != nil {
		if err := c.Document.Err(); err != nil {
			return fmt.Errorf("%s: %w: %w", c.Stream, errDocument, err)
		}
		f.Fields = make(map[string]string)
		for _, field := range c.Document.Fields() {
			f.Fields[field.Name] = field.Value.String()
		}
	}
	return s.write(g, c.Key, f)
}

// lock keeps others from changing a generation until unlock. The lock goes with the
// process that has it.
func (s *Sink) lock(g projector.Generation) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.of(g), ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// write puts a file in place of the one that is there, entirely or not at all.
func (s *Sink) write(g projector.Generation, key string, f file) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	path := s.path(g, key)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// errDamaged says that a file is not one of this package's.
var errDamaged = errors.New("the file of a document is damaged")

// read reads a document and its checkpoint; nil and the zero one where there is none.
func (s *Sink) read(g projector.Generation, key string) (map[string]string, projector.Checkpoint, error) {
	text, err := os.ReadFile(s.path(g, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, projector.Checkpoint{}, nil
	}
	if err != nil {
		return nil, projector.Checkpoint{}, err
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, projector.Checkpoint{}, fmt.Errorf("%w: %s: %w", errDamaged, s.path(g, key), err)
	}
	position, err := projector.ParsePosition(f.Position)
	if err != nil {
		return nil, projector.Checkpoint{}, fmt.Errorf("%w: %s: %w", errDamaged, s.path(g, key), err)
	}
	return f.Fields, projector.Checkpoint{Position: position, EventID: f.Event}, nil
}

// Documents implements [projector.DocumentReader]: get, verify and wait use it.
func (s *Sink) Documents(ctx context.Context, g projector.Generation, keys []string) (all []map[string]string, at []projector.Checkpoint, err error) {
	for _, key := range keys {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		document, checkpoint, err := s.read(g, key)
		if err != nil {
			return nil, nil, err
		}
		all, at = append(all, document), append(at, checkpoint)
	}
	return all, at, nil
}

// Drop implements [projector.Dropper]: projections retire uses it.
func (s *Sink) Drop(_ context.Context, g projector.Generation) error { return os.RemoveAll(s.of(g)) }

// of returns the directory of a generation.
func (s *Sink) of(g projector.Generation) string {
	return filepath.Join(s.dir, strconv.Itoa(int(g)))
}

// longest is how long the name of a file may be before its end is added.
const longest = 200

// path returns the file of a document. Keys may hold anything; an escaped one is no path,
// but may be too long for a name.
func (s *Sink) path(g projector.Generation, key string) string {
	name := url.QueryEscape(key)
	if len(name) > longest {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(key)))
	}
	return filepath.Join(s.of(g), name+".json")
}
