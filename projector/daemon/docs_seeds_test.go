package daemon

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const seedsPage = "docs/seeds.md"

var (
	codeLink = regexp.MustCompile("\\[`([^`]+)`\\]\\(([^()\\s]+\\.go)\\)")
	codeSpan = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^(Test|Benchmark|Fuzz|Example)(_|[A-Z]|$)`)
)

// TestSeedsPage checks that every row of docs/seeds.md says where something is and names a
// test that shows it, or in words why there is none; that everything which is named and
// linked is declared in that file; and that every command is one. That its links lead
// somewhere TestLinksInDocuments checks.
func TestSeedsPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(repository, seedsPage))
	if err != nil {
		t.Fatal(err)
	}
	rows, problems := wrongInSeeds(string(page), declaredIn)
	for _, p := range problems {
		t.Errorf("%s: %s", seedsPage, p)
	}
	if rows < 100 {
		t.Errorf("%s has %d rows", seedsPage, rows)
	}
}

// wrongInSeeds returns how many rows a page like docs/seeds.md has, and what is wrong with
// it. declared tells what a Go file of the repository declares.
func wrongInSeeds(page string, declared func(file string) (map[string]bool, error)) (rows int, problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for line := range strings.Lines(page) {
		linked := make(map[string]bool)
		for _, m := range codeLink.FindAllStringSubmatch(line, -1) {
			name := m[1][strings.LastIndex(m[1], ".")+1:]
			linked[m[1]] = true
			if m[1] == path.Base(m[2]) {
				continue // a file by its name
			}
			file := path.Join(path.Dir(seedsPage), m[2])
			switch all, err := declared(file); {
			case err != nil:
				wrong("%s: %v", m[1], err)
			case !all[name]:
				wrong("%s does not declare %s", file, name)
			}
		}
		for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
			if testName.MatchString(m[1]) && !linked[m[1]] {
				wrong("%s is not linked to its file", m[1])
			}
			if args, is := strings.CutPrefix(m[1], "projectord "); is {
				if problem := wrongCommand(strings.Fields(args)); problem != "" {
					wrong("%s: %s", m[1], problem)
				}
			}
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| what it names ") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for _, m := range codeLink.FindAllStringSubmatch(cells[len(cells)-1], -1) {
			if !strings.HasSuffix(m[2], "_test.go") && !strings.Contains(m[2], "/storetest/") && !strings.Contains(m[2], "/sinktest/") {
				wrong("%s is no test, nor part of a suite", m[1])
			}
		}
		switch {
		case len(cells) != 3:
			wrong("a row has %d cells: %s", len(cells), line)
		case strings.TrimSpace(cells[1]) == "":
			wrong("nothing says where this is: %s", line)
		case !codeLink.MatchString(cells[2]) && len(strings.Fields(cells[2])) < 4:
			wrong("no test shows this, and nothing says why: %s", line)
		}
	}
	return rows, problems
}

// wrongCommand says what is wrong with a command that is named without its arguments, ""
// where nothing is.
func wrongCommand(words []string) string {
	root := (&program{app: App{Name: "projectord"}}).newRoot()
	cmd, rest, err := root.Find(words)
	switch {
	case err != nil:
		return err.Error()
	case cmd == root || cmd.HasSubCommands() || len(rest) > 0:
		return "there is no such command"
	}
	return ""
}

// declaredIn returns the names that a Go file declares: its package, functions, methods,
// types, values, and fields.
func declaredIn(file string) (map[string]bool, error) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repository, file), nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{f.Name.Name: true}
	for n := range ast.Preorder(f) {
		switch n := n.(type) {
		case *ast.FuncDecl:
			all[n.Name.Name] = true
		case *ast.TypeSpec:
			all[n.Name.Name] = true
		case *ast.ValueSpec:
			for _, name := range n.Names {
				all[name.Name] = true
			}
		case *ast.StructType:
			for _, field := range n.Fields.List {
				for _, name := range field.Names {
					all[name.Name] = true
				}
			}
		}
	}
	return all, nil
}

// TestWrongSeedsAreFound checks that the test above could fail.
func TestWrongSeedsAreFound(t *testing.T) {
	declared := func(file string) (map[string]bool, error) {
		if file != "projector/a_test.go" {
			return nil, os.ErrNotExist
		}
		return map[string]bool{"TestA": true, "Store": true}, nil
	}
	for line, says := range map[string]string{
		"| `XADD` | `projectord streams append`, [`a_test.go`](../projector/a_test.go) | [`TestA`](../projector/a_test.go) |": "",
		"| `XADD` | [`eventstore.Store`](../projector/a_test.go) | — there is nothing to show |":                              "",
		"| `XADD` | here | [`TestB`](../projector/a_test.go) |":                                                               "does not declare TestB",
		"| `XADD` | [`Store`](../projector/b.go) | [`TestA`](../projector/a_test.go) |":                                       "not exist",
		"| `XADD` | here | [`Store`](../projector/a.go) |":                                                                    "is no test",
		"| `XADD` | here | `TestA` |":                        "not linked",
		"| `XADD` | here | — |":                              "nothing says why",
		"| `XADD` |  | [`TestA`](../projector/a_test.go) |":  "nothing says where",
		"| `XADD` | [`TestA`](../projector/a_test.go) |":     "2 cells",
		"Or by `projectord streams apend`.":                  "no such command",
		"Or by `projectord retention`.":                      "no such command",
		"Shown by [`ExampleB`](../projector/a_test.go) too.": "does not declare ExampleB",
	} {
		_, problems := wrongInSeeds(line, declared)
		if got := strings.Join(problems, "; "); (got == "") != (says == "") || !strings.Contains(got, says) {
			t.Errorf("%s: got %q, want %q", line, got, says)
		}
	}
}
