package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/projectord/projectord/internal/bench"
	"github.com/projectord/projectord/projector/daemon"
)

// document is where a report goes: a file that is there whole or not at all, or something
// that takes what is written to it, such as a pipe. Nil is none.
type document struct {
	path string      // of the file, which is no link
	old  fs.FileInfo // nil where there is no file yet
	to   *os.File    // open where it is no file
}

// newDocument finds out at once whether the report can be written, so that it is not
// measured for minutes first.
func newDocument(path string) (*document, error) {
	if path == "" {
		return nil, nil
	}
	d := &document{path: path}
	var err error
	switch d.old, err = os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(path); err == nil {
			return nil, daemon.Usage("--report: %s is a link to what does not exist: name a file", path)
		}
	case err != nil:
		return nil, daemon.Usage("--report: %w", err)
	case d.old.IsDir():
		return nil, daemon.Usage("--report: %s is a directory: name a file in it", path)
	case d.old.Mode().IsRegular():
		// What is replaced is the file and not the link to it.
		if d.path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, daemon.Usage("--report: %w", err)
		}
	case d.old.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) == 0:
		return nil, daemon.Usage("--report: %s is no file: name one, or a pipe", path)
	default:
		// A pipe that nobody reads is an error, and nothing to wait for.
		if d.to, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err != nil {
			return nil, daemon.Usage("--report: nobody reads it, or it cannot be written: %w", err)
		}
		return d, nil
	}
	file, err := d.begin()
	if err != nil {
		return nil, daemon.Usage("--report: %w", err)
	}
	// Where this process is killed while it measures, nothing is left.
	return d, discard(file)
}

// begin returns a file beside the one that it will replace, with the same owner and mode.
func (d *document) begin() (*os.File, error) {
	file, err := os.CreateTemp(filepath.Dir(d.path), filepath.Base(d.path)+".*")
	if err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o644) // temporary files are for their owner alone
	if d.old != nil {
		mode = d.old.Mode().Perm()
		if owner, ok := d.old.Sys().(*syscall.Stat_t); ok {
			err = file.Chown(int(owner.Uid), int(owner.Gid))
		}
	}
	if err = errors.Join(err, file.Chmod(mode)); err != nil {
		return nil, errors.Join(err, discard(file))
	}
	return file, nil
}

// discard removes a file that was begun.
func discard(file *os.File) error { return errors.Join(file.Close(), os.Remove(file.Name())) }

// write writes the report.
func (d *document) write(r *bench.Report) error {
	if d == nil {
		return nil
	}
	var text bytes.Buffer
	r.Markdown(&text)
	if err := d.put(text.Bytes()); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

func (d *document) put(text []byte) error {
	if d.to != nil {
		_, err := d.to.Write(text)
		return err
	}
	file, err := d.begin()
	if err != nil {
		return err
	}
	if _, err = file.Write(text); err == nil {
		err = file.Close()
	}
	if err == nil {
		err = os.Rename(file.Name(), d.path)
	}
	if err != nil {
		_ = discard(file) // the error before it says more
	}
	return err
}

func (d *document) close() {
	if d != nil && d.to != nil {
		d.to.Close()
	}
}
