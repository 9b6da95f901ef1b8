package guide

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fenced writes a document with ' in place of the backquotes of fences.
func fenced(lines ...string) string {
	return strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "'''", "```")
}

// TestRun checks that documents which are true pass, and others do not.
func TestRun(t *testing.T) {
	for _, test := range []struct {
		name, document string
		says           string // "" where the document is true
	}{
		{"True", fenced("# A", "'''sh", "echo 7 teas", "'''", "and", "'''text", "8 teas", "'''"), ""},
		{"OneShell", fenced("'''sh", "tea=mint; cd /", "'''", "'''sh", "echo $tea $PWD", "'''", "'''text exact", "mint /", "'''"), ""},
		{"OtherFences", fenced("'''go", "package x", "'''", "'''sh", "true", "'''"), ""},
		{"LinesBetween", fenced("'''sh", "printf 'a\\nb\\nc\\n'", "'''", "'''text", "a", "c", "'''"), ""},
		{"WidthOfColumns", fenced("'''sh", "echo 'a    17    b'", "'''", "'''text", "a  2  b", "'''"), ""},
		{"Logged", fenced("'''sh", "echo 'time=2026-11-21T19:30:10Z level=INFO session=one.d1ed612660db3919'", "'''", "'''text", "level=INFO session=one.0123456789abcdef", "'''"), ""},
		{"Background", fenced("'''sh", "sleep 100 &", "kill $!", "'''", "'''sh exits 143", "wait $!", "'''"), ""},
		{"LeftRunning", fenced("'''sh", "sleep 100 &", "'''"), ""},
		{"Exits", fenced("'''sh exits 4 5", "sh -c 'exit 4'", "true", "sh -c 'exit 5'", "'''"), ""},
		{"Handled", fenced("'''sh", "false || true", "until true; do false; done", "if false; then echo; fi", "'''"), ""},
		{"Varies", fenced("'''sh", "echo mint", "'''", "'''text varies", "verbena", "'''"), ""},
		{"GoBuild", fenced("'''sh", "go build -o ./mine ./examples/mine", "./mine a b", "go run ./examples/mine c", "rm mine", "'''", "'''text exact", "mine: a b", "mine: c", "'''"), ""},

		{"NoBlocks", "# A\n", "no commands"},
		{"TextAlone", fenced("'''text", "a", "'''"), "no commands are above"},
		{"Fails", fenced("'''sh", "false", "true", "'''"), "end with the codes 1"},
		{"FailsInPipeline", fenced("'''sh", "false | cat", "'''"), "end with the codes 1"},
		{"FailsOtherwise", fenced("'''sh exits 4", "false", "'''"), "want 4"},
		{"FailsNot", fenced("'''sh exits 4", "true", "'''"), "with the codes none"},
		{"Ends", fenced("'''sh", "exit 0", "'''"), "block 1 did not come to its end"},
		{"Syntax", fenced("'''sh", "fi", "'''"), "block 1 did not come to its end"},
		{"StopsBehind", fenced("'''sh", "false", "'''", "'''sh", "echo still there", "'''", "'''text", "gone", "'''"), "block 1"},
		{"LineMissing", fenced("'''sh", "echo a", "'''", "'''text", "a", "b", "'''"), "prints\nb\n"},
		{"OtherOrder", fenced("'''sh", "printf 'b\\na\\n'", "'''", "'''text", "a", "b", "'''"), "prints\nb\n"},
		{"PartOfLine", fenced("'''sh", "echo a b", "'''", "'''text", "a", "'''"), "prints\na\n"},
		{"PrintedByAnother", fenced("'''sh", "echo a", "'''", "'''sh", "echo b", "'''", "'''text", "a", "'''"), "prints\na\n"},
		{"NothingMissing", fenced("'''sh", "true", "'''", "'''text varies", "a", "'''"), "prints\nsomething\n"},
		{"NotExact", fenced("'''sh", "echo 7", "'''", "'''text exact", "8", "'''"), "prints\n8\n"},
		{"UnknownWord", fenced("'''sh", "echo 7", "'''", "'''text mostly", "8", "'''"), "exact and varies"},
		{"UnknownExit", fenced("'''sh exits badly", "echo 7", "'''"), "the codes of the commands"},
		{"UnknownCommand", fenced("'''sh", "shopp status", "'''"), "end with the codes 127"},
		{"GoRunBehind", fenced("'''sh", "go run ./examples/mine a > log 2>&1 &", "'''"), "does not reach the program"},
		{"GoRunBefore", fenced("'''sh", "go run ./examples/mine a && true", "'''"), ""},
		{"JobNumber", fenced("'''sh", "sleep 100 &", "kill -9 %1", "'''"), "other jobs"},
		{"WaitForAll", fenced("'''sh", "sleep 0 & wait", "'''"), "all jobs"},
		{"WaitForOne", fenced("'''sh", "true & wait $!", "'''"), ""},
		{"Exported", fenced("'''sh", "export A=1 B=\"2\"", "unset A", "'''"), "unset B"},
		{"ExportedAndUnset", fenced("'''sh", "export A=1 # a comment", "export B=2", "'''", "'''sh", "unset A B", "'''"), ""},
		{"FileLeft", fenced("'''sh", "echo > a; mkdir b", "'''"), "leave behind a b"},
		{"UnknownGo", fenced("'''sh", "go run ./examples/other", "'''"), "end with the codes 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if blocks, err := parse(test.document); err != nil {
				got = err.Error()
			} else {
				got = told(run(t.Context(), t.TempDir(), ".", blocks, os.Environ(), []Program{echo(t)}))
			}
			if (got == "") != (test.says == "") || !strings.Contains(got, test.says) {
				t.Errorf("got %q; want that it says %q", got, test.says)
			}
		})
	}
}

func told(problems []error) string {
	if err := errors.Join(problems...); err != nil {
		return err.Error()
	}
	return ""
}

// echo is a program that prints its arguments.
func echo(t *testing.T) Program {
	path := filepath.Join(t.TempDir(), "echo")
	if err := executable(path, `echo "mine${NOTHING:-}:" "$@"`+"\n"); err != nil {
		t.Fatal(err)
	}
	return Program{Name: "mine", Dir: "./examples/mine", Path: path, Variable: "MINE"}
}

// TestServers checks that the servers are there that documents are told of.
func TestServers(t *testing.T) {
	t.Parallel()
	blocks, err := parse(fenced("'''sh", `redis-cli -u "$PROJECTORD_REDIS_URL" ping`, `echo "${SHOP_POSTGRES%%:*}"`, "'''", "'''text exact", "PONG", "postgres", "'''"))
	if err != nil {
		t.Fatal(err)
	}
	follow(t, ".", blocks, nil)
}

// TestEveryDocumentIsFollowed checks that each guide runs a program of this module whose
// test follows the guides that run it.
func TestEveryDocumentIsFollowed(t *testing.T) {
	module, err := root()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := list(module)
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 2 {
		t.Fatalf("there are %d guides", len(paths))
	}
	programs, err := filepath.Glob(filepath.Join(module, "examples", "*", "guide_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	programs = slices.DeleteFunc(programs, func(path string) bool {
		source, err := os.ReadFile(path)
		return err != nil || !strings.Contains(string(source), "\tguide.FollowAll(t,")
	})
	for _, path := range paths {
		blocks, err := read(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if !slices.ContainsFunc(programs, func(test string) bool {
			return uses(blocks, "./examples/"+filepath.Base(filepath.Dir(test)))
		}) {
			t.Errorf("%s is not followed by any test: it runs no program of examples/ with a guide_test.go that calls guide.FollowAll", path)
		}
	}
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// TestCodeIsOfExamples checks that what guides show of Go is in an example, which compiles.
func TestCodeIsOfExamples(t *testing.T) {
	module, err := root()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := list(module)
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	if err := filepath.WalkDir(filepath.Join(module, "examples"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		source, err := os.ReadFile(path)
		sources = append(sources, outdented(string(source)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range goBlock.FindAllStringSubmatch(string(text), -1) {
			code := outdented(m[1])
			if !slices.ContainsFunc(sources, func(source string) bool { return strings.Contains(source, code) }) {
				t.Errorf("%s shows code that no example has:\n%s", path, m[1])
			}
		}
	}
}

// outdented leaves out how far lines are indented.
func outdented(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t "))
	}
	return b.String()
}
