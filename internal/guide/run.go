package guide

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

// Program is a program that the commands of a document may call.
type Program struct {
	// Name is what it is called.
	Name string
	// Dir is the directory of its source, such as ./examples/cart: that is how go run
	// and go build name it.
	Dir string
	// Path is the file that is run in its place, with Variable set to 1.
	Path, Variable string
}

// within bounds how long a document may take.
const within = 5 * time.Minute

// follow runs the blocks of a document with servers of their own.
func follow(t testing.TB, module string, blocks []block, programs []Program) {
	t.Helper()
	port, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	environment := append(foreign(os.Environ()),
		fmt.Sprintf("SHOP_PORT=%d", port),
		"PROJECTORD_REDIS_URL="+testenv.StartRedis(t).URL(),
		"PROJECTORD_HTTP=127.0.0.1:0", // several documents are followed at a time
		"SHOP_POSTGRES="+testenv.Postgres(t))
	for _, problem := range run(t.Context(), t.TempDir(), module, blocks, environment, programs) {
		t.Error(problem)
	}
}

// freePorts returns the first of three ports in a row of 127.0.0.1 on which no one listens,
// nor on those 10000 higher, which nodes of a Redis Cluster take too.
func freePorts() (int, error) {
	const first, last = 10000, 12000 // below those of testenv
search:
	for range 1000 {
		port := first + rand.IntN(last-first-2)
		for _, p := range []int{port, port + 1, port + 2, port + 10000, port + 10001, port + 10002} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				continue search
			}
			l.Close()
		}
		return port, nil
	}
	return 0, fmt.Errorf("no free ports from %d to %d", first, last)
}

// foreign leaves out what configures projectord.
func foreign(environment []string) (kept []string) {
	for _, v := range environment {
		if !strings.HasPrefix(v, "PROJECTORD_") && !strings.HasPrefix(v, "SHOP_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// run runs blocks of commands in a directory, and returns what is wrong with them.
func run(ctx context.Context, dir, module string, blocks []block, environment []string, programs []Program) []error {
	work, bin := filepath.Join(dir, "work"), filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(work, 0o700), os.Mkdir(bin, 0o700), install(bin, module, programs)); err != nil {
		return []error{err}
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script(blocks))
	cmd.Dir = work
	cmd.Env = append(environment, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	// What the commands leave running is of the same process group, and ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = end
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = end() // there may be nothing left of it
	}
	if ctx.Err() != nil {
		return []error{fmt.Errorf("the commands did not end within %s; they print\n%s", within, out)}
	}
	problems := judge(blocks, string(out), err)
	if len(problems) > 0 {
		return problems
	}
	return left(work)
}

// left returns what is wrong with a directory in which commands have run to their end: they
// take away what they made, since the directory of a reader is a clone of the repository.
func left(work string) []error {
	entries, err := os.ReadDir(work)
	if err != nil {
		return []error{err}
	}
	if len(entries) == 0 {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return []error{fmt.Errorf("the commands leave behind %s: remove it in the end", strings.Join(names, " "))}
}

// judge returns what is wrong with what blocks have printed.
func judge(blocks []block, out string, err error) (problems []error) {
	for i, b := range blocks {
		printed, rest, ended := strings.Cut(out, "\n"+blockEnd)
		if !ended {
			return append(problems, fmt.Errorf("block %d did not come to its end (%v):\n%sprints\n%s", i+1, err, b.commands, out))
		}
		codes, rest, _ := strings.Cut(rest, "\n")
		if codes != b.exits {
			return append(problems, fmt.Errorf("commands of block %d end with the codes%s, besides 0; want%s:\n%sprints\n%s", i+1, orNone(codes), orNone(b.exits), b.commands, printed))
		}
		problems = append(problems, b.differences(printed)...)
		out = rest
	}
	return problems
}

func orNone(codes string) string {
	if codes == "" {
		return " none"
	}
	return codes
}

// blockEnd is printed after each block, and behind it the codes of commands that failed.
const blockEnd = "-- end of a block, with the codes"

// script returns what runs blocks, and stops behind one that did not do what it should.
func script(blocks []block) string {
	var s strings.Builder
	s.WriteString("set -o pipefail\ncodes=\ntrap 'codes=\"$codes $?\"' ERR\n")
	for _, b := range blocks {
		fmt.Fprintf(&s, "%s\nprintf '\\n%%s\\n' '%s'\"$codes\"\n[ \"$codes\" = '%s' ] || exit 1\ncodes=\n", b.commands, blockEnd, b.exits)
	}
	return s.String()
}

// install puts the programs into a directory, and a go that knows where they are.
func install(bin, module string, programs []Program) error {
	found, err := exec.LookPath("go")
	if err != nil {
		return err
	}
	var cases strings.Builder
	for _, p := range programs {
		if err := executable(filepath.Join(bin, p.Name), fmt.Sprintf("%s=1 exec '%s' \"$@\"\n", p.Variable, p.Path)); err != nil {
			return err
		}
		fmt.Fprintf(&cases, "%s) program='%s' ;;\n", p.Dir, filepath.Join(bin, p.Name))
	}
	return executable(filepath.Join(bin, "go"), fmt.Sprintf(`
case $1 in
test) cd '%s' && exec '%s' "$@" ;;
run) dir=$2 ;;
build) dir=$4 ;; # go build -o FILE DIR
esac
case $dir in
%s*) echo "go $*: not known to the tests of documents" >&2; exit 2 ;;
esac
case $1 in
build) exec ln -sf "$program" "$3" ;;
run) shift 2; exec "$program" "$@" ;;
esac
`, module, found, cases.String()))
}

func executable(path, body string) error {
	return os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700)
}
