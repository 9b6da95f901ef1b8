// Command licenses writes the licences of what is linked into Go programs to its standard
// output: those of the modules that the toolchain says are, and that of Go itself. It finds
// them in the cache of modules, and fails where a module has none.
//
//	go run ./scripts/licenses dist/projectord > dist/THIRD-PARTY-LICENSES.txt
package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "licenses: the names of programs are wanted")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

// write writes the licences of all that is linked into some of the programs, once each.
func write(to io.Writer, programs []string) error {
	linked := make(map[string]bool)
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return fmt.Errorf("%s: %w", program, err)
		}
		for _, m := range info.Deps {
			linked[m.Path] = true
		}
	}
	root, err := output("go", "env", "GOROOT")
	if err != nil {
		return err
	}
	// What is below has its own, and is linked into no program.
	if err := texts(to, "Go, with its standard library", root, false); err != nil {
		return err
	}
	if len(linked) == 0 {
		return nil // without one, go list tells of the main module
	}
	list, err := output("go", append([]string{"list", "-m", "-f", "{{.String}}\t{{.Dir}}"}, slices.Sorted(maps.Keys(linked))...)...)
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(list, "\n") {
		name, dir, _ := strings.Cut(line, "\t")
		if dir == "" {
			return fmt.Errorf("%s is not in the cache of modules: go mod download fetches it", name)
		}
		if err := texts(to, name, dir, true); err != nil {
			return err
		}
	}
	return nil
}

// The names of files with licences, and with what has to go with those.
var (
	licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying)([-_.].*)?$`)
	notice  = regexp.MustCompile(`(?i)^(notice|patents)([-_.].*)?$`)
)

// texts writes the licences in a directory, and below it where parts may have their own.
// At least one has to be in the directory itself.
func texts(to io.Writer, name, dir string, below bool) error {
	found := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && (!below || d.Name() == "testdata"):
			return filepath.SkipDir
		case !d.Type().IsRegular() || filepath.Ext(path) == ".go" || !licence.MatchString(d.Name()) && !notice.MatchString(d.Name()):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		part, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		found = found || licence.MatchString(part)
		_, err = fmt.Fprintf(to, "%s\n%s: %s\n\n%s\n\n", strings.Repeat("=", 80), name, filepath.ToSlash(part), strings.Trim(string(text), "\r\n"))
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%s has no licence in %s: ask whoever wrote it before it is passed on", name, dir)
	}
	return err
}

// output returns what a command writes, without the line's end.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
