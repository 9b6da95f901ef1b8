package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/daemon"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "CART_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testenv.Main(m)
}

// The exit codes of package daemon.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitWrong       = 3
	exitUnconfirmed = 4
	exitAbsent      = 5
	exitUnavailable = 6
)

// The settings that tests give by the environment.
const (
	urlEnv       = "PROJECTORD_REDIS_URL"
	namespaceEnv = "PROJECTORD_NAMESPACE"
	postgresEnv  = "PROJECTORD_POSTGRES_URL"
)

// environment returns the environment of a program: that of the test, with variables in
// place of those of the same names. Several answer HTTP at a time.
func environment(variables ...string) []string {
	variables = append([]string{"PROJECTORD_HTTP=127.0.0.1:0"}, variables...)
	all := slices.DeleteFunc(os.Environ(), func(old string) bool {
		return slices.ContainsFunc(variables, func(new string) bool {
			name, _, _ := strings.Cut(new, "=")
			return strings.HasPrefix(old, name+"=")
		})
	})
	return append(all, variables...)
}

// isVariable reports whether a word of a command is a variable, like those before a
// command of a shell.
func isVariable(word string) bool {
	return strings.HasPrefix(word, "CART_") || strings.HasPrefix(word, "PROJECTORD_")
}

// split splits a command into variables and arguments: they may be mixed.
func split(words []string) (variables, args []string) {
	for _, word := range words {
		if isVariable(word) {
			variables = append(variables, word)
		} else {
			args = append(args, word)
		}
	}
	return variables, args
}

// code says of which version the code of a command is.
func code(version int) string { return fmt.Sprintf("%s=%d", codeEnv, version) }

// program returns the program as a command that is a process of its own.
func program(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	variables, args := split(words)
	cmd := exec.Command(path, args...)
	cmd.Env = environment(append(variables, asProgram+"=1")...)
	return cmd
}

// result is what a run of the program left behind.
type result struct {
	status   int
	out, err string
}

// cart runs the program within the test's process.
func cart(ctx context.Context, stdin string, words ...string) result {
	var out, err bytes.Buffer
	status := call(ctx, strings.NewReader(stdin), &out, &err, words...)
	return result{status, out.String(), err.String()}
}

// call does so with what it reads and writes.
func call(ctx context.Context, in io.Reader, out, err io.Writer, words ...string) int {
	variables, args := split(words)
	environ := environment(variables...)
	app, wrong := newApp(func(name string) string {
		for _, v := range environ {
			if text, ok := strings.CutPrefix(v, name+"="); ok {
				return text
			}
		}
		return ""
	})
	if wrong != nil {
		fmt.Fprintln(err, "cart:", wrong)
		return exitUsage
	}
	app.Commands = withBehind(app.Commands)
	return app.Run(ctx, daemon.Call{Args: args, Environ: environ, In: in, Out: out, Err: err})
}

// withBehind adds a command of the tests, which prints how many carts are behind in each
// projection that has run.
func withBehind(commands func(*daemon.Kit) []*cobra.Command) func(*daemon.Kit) []*cobra.Command {
	return func(k *daemon.Kit) []*cobra.Command {
		return append(commands(k), &cobra.Command{Use: "behind", RunE: k.On(func(ctx context.Context, at *daemon.Space, _ []string) error {
			all, err := at.Assignments(ctx)
			if err != nil {
				return err
			}
			left := make(map[string]int)
			for _, a := range all {
				if left[a.Projection.Name()], err = behind(ctx, at, a); err != nil {
					return err
				}
			}
			return json.NewEncoder(k.Out()).Encode(left)
		})})
	}
}

// mustCart runs the program and returns its output; it must succeed.
func mustCart(t testing.TB, args ...string) string {
	t.Helper()
	r := cart(t.Context(), "", args...)
	if r.status != 0 {
		t.Fatalf("cart %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.err)
	}
	return r.out
}

// written writes a file of this test.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDemo(t *testing.T) {
	t.Setenv(urlEnv, "redis://127.0.0.1:1") // the demonstration needs no server
	out := mustCart(t, "demo")
	for _, want := range []string{"bad quantity", "not in the cart", "nothing to pay", "\n  ada ", "equal to those before", "Try next"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demonstration does not tell %q:\n%s", want, out)
		}
	}
	if again := mustCart(t, "demo"); again != out {
		t.Errorf("the demonstration differs from run to run:\n%s", again)
	}
}

func TestUsage(t *testing.T) {
	at := []string{"--redis-url", "redis://" + testenv.Embedded(t).Options().Addr}
	file := written(t, "small.csv", generate(1, 20).csv)
	mustCart(t, append(at, "import", file, "--namespace", "projectord")...)
	for _, test := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"Help", []string{"-h"}, 0, ""},
		{"HelpOfDemo", []string{"demo", "-h"}, 0, ""},
		{"HelpOfImport", []string{"import", "--help"}, 0, ""},
		{"HelpOfProject", []string{"project", "--help"}, 0, ""},
		{"HelpOfShow", []string{"show", "--help"}, 0, ""},
		{"HelpOfListing", []string{"listing", "--help"}, 0, ""},
		{"UnknownCommand", []string{"foo"}, exitUsage, `no command "cart foo"`},
		{"UnknownFlag", []string{"project", "--wat"}, exitUsage, "--wat"},
		{"DemoOfWhat", []string{"demo", "what"}, exitUsage, `"what"`},
		{"ImportNothing", []string{"import"}, exitUsage, "FILE is missing"},
		{"ImportTwoFiles", []string{"import", "a", "b"}, exitUsage, `"b"`},
		{"ImportNoSuchFile", append(at, "import", "/no/such/file"), exitAbsent, "no such file"},
		{"ImportDirectory", append(at, "import", t.TempDir()), exitFailed, "is a directory"},
		{"ImportEmpty", append(at, "import", "-"), exitFailed, "standard input: it is empty"},
		{"ImportOnErrorWhat", append(at, "import", file, "--on-error", "what"), exitUsage, `"what"`},
		{"ImportOtherCSV", append(at, "import", written(t, "other.csv", "a,b\n1,2\n")), exitFailed, "lacks the columns InvoiceNo,"},
		{"ListingWhat", append(at, "listing", "what"), exitUsage, `"what"`},
		{"ListingBeforeProject", append(at, "listing", "chain"), exitAbsent, "run cart project"},
		{"ShowUnknown", append(at, "show", "nobody"), exitAbsent, "no cart nobody in namespace projectord"},
		{"ShowImpossible", append(at, "show", "a\nb"), exitUsage, "control character"},
		{"ShowNowhere", append(at, "show", "c1", "--namespace", "nowhere"), exitAbsent, "no such namespace"},
		{"BadNamespace", append(at, "project", "--namespace", "No"), exitUsage, `"No"`},
		{"NoServer", []string{"project", "--redis-url", "redis://u:sesame@127.0.0.1:1"}, exitUnavailable, "is the server running"},
		{"NoPostgres", append(at, "project", "--postgres-url", "postgres://u:sesame@127.0.0.1:1/d"), exitUnavailable, "is the Postgres running"},
		{"ListingWithoutPostgres", append(at, "listing", "days"), exitUsage, "--postgres-url or " + postgresEnv},
		{"ListingWithPostgresDown", append(at, "listing", "orders", "--postgres-url", "postgres://u:sesame@127.0.0.1:1/d"), exitUnavailable, "is the Postgres running"},
		{"CodeOfTheFuture", []string{code(4), "version"}, exitUsage, `CART_CODE is from 1 to 3, not "4"`},
		{"CodeWhat", []string{"CART_CODE=new", "version"}, exitUsage, `"new"`},
		{"CountWhat", []string{"CART_MAX_COUNT=-1", "version"}, exitUsage, "CART_MAX_COUNT is how many"},
		{"AgeWhat", []string{"CART_MAX_AGE=-1h", "version"}, exitUsage, "CART_MAX_AGE is a time above 0"},
		{"IdleWhat", []string{"CART_IDLE=3", "version"}, exitUsage, "CART_IDLE is a time above 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := cart(t.Context(), "", test.args...)
			if r.status != test.status || !strings.Contains(r.err, test.says) {
				t.Errorf("status %d, %q; want status %d and %q", r.status, r.err, test.status, test.says)
			}
			if test.status == 0 && !strings.Contains(r.out, "Examples:\n  cart") {
				t.Errorf("help shows no example:\n%s", r.out)
			}
			if strings.Contains(r.err+r.out, "sesame") {
				t.Errorf("the password is told: %s%s", r.out, r.err)
			}
		})
	}
}

// What the cart's own commands print is a value too.
func TestForms(t *testing.T) {
	at := []string{"--redis-url", "redis://" + testenv.Embedded(t).Options().Addr, "-o", "json"}
	line := `{"ts":"2011-01-01T00:00:00Z","cart":"c1","type":"item_added","item":"tea","qty":3,"price_milli":1,"ref":"1"}`
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"import", written(t, "history", line)}, `{"added":1,"carts":1,"events":1,"form":"ndjson","present":0}`},
		{[]string{"project"}, `[{"documents":1,"events":1,"projection":"cart_current"},{"documents":1,"events":1,"projection":"cart_chain"}]`},
		{[]string{"show", "c1"}, `{"cart":"c1","fields":{"adds":"1","adjustments":"0","checkouts":"0","item:tea":"3","removes":"0","returns":"0"},"head":1,"version":1}`},
	} {
		var v any
		out := mustCart(t, append(test.args, at...)...)
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatal(err)
		}
		timeless(v)
		if text, err := json.Marshal(v); err != nil || string(text) != test.want {
			t.Errorf("%v prints %s, %v; want %s", test.args, text, err, test.want)
		}
	}
}

// timeless leaves out how long something took.
func timeless(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "seconds")
	case []any:
		for _, one := range v {
			timeless(one)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1_000: "1,000", 567_809: "567,809", -1_234_567: "-1,234,567", -123: "-123"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s; want %s", n, got, want)
		}
	}
}
