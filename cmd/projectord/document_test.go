package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/projectord/projectord/internal/bench"
)

// written writes a report without rows to a path.
func written(t *testing.T, path string) {
	t.Helper()
	d, err := newDocument(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if entries, _ := filepath.Glob(path + ".*"); len(entries) > 0 {
		t.Errorf("while it is measured there is %v", entries)
	}
	if err := d.write(new(bench.Report)); err != nil {
		t.Fatal(err)
	}
}

func isReport(t *testing.T, text []byte) {
	t.Helper()
	if !strings.HasPrefix(string(text), "# What projectord bench measured") {
		t.Errorf("it is %q", text)
	}
}

// What a link leads to is replaced, with its mode, and the link stays.
func TestReportThroughLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.md"), filepath.Join(dir, "link.md")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target.md", link); err != nil {
		t.Fatal(err)
	}
	written(t, link)
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link: %v, %v", info, err)
	}
	text, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	isReport(t, text)
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode: %v, %v", info, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("it left %v", entries)
	}
}

// A pipe is written to, and is one afterwards.
func TestReportIntoPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newDocument(path); err == nil || !strings.Contains(err.Error(), "nobody reads it") {
		t.Errorf("without a reader: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	written(t, path)
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	isReport(t, text)
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the pipe: %v, %v", info, err)
	}
}

// A link to nothing is no name of a file.
func TestReportOfLostLink(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "link.md")
	if err := os.Symlink("missing.md", link); err != nil {
		t.Fatal(err)
	}
	if _, err := newDocument(link); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("got %v", err)
	}
}
