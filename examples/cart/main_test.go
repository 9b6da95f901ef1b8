package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "CART_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Unsetenv(postgresEnv) // tests name the Postgres they mean
	testenv.Main(m)
}

// program returns the program as a command that is a process of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// result is what a run of the program left behind.
type result struct {
	status   int
	out, err string
}

// cart runs the program within the test's process.
func cart(ctx context.Context, stdin string, args ...string) result {
	var out, err bytes.Buffer
	status := run(ctx, args, streams{strings.NewReader(stdin), &out, &err})
	return result{status, out.String(), err.String()}
}

// mustCart runs the program and returns its output; it must succeed.
func mustCart(t *testing.T, args ...string) string {
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
	out := mustCart(t)
	for _, want := range []string{"bad quantity", "not in the cart", "nothing to pay", "\n  ada ", "equal to those before", "Try next"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demonstration does not tell %q:\n%s", want, out)
		}
	}
	if again := mustCart(t); again != out {
		t.Errorf("the demonstration differs from run to run:\n%s", again)
	}
}

func TestUsage(t *testing.T) {
	url := testenv.Embedded(t).Options().Addr
	at := []string{"--redis", "redis://" + url}
	file := written(t, "small.csv", generate(1, 20).csv)
	for _, test := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"Help", []string{"-h"}, 0, ""},
		{"HelpOfImport", []string{"import", "--help"}, 0, ""},
		{"UnknownCommand", []string{"foo"}, 2, `no command "foo"`},
		{"UnknownFlag", []string{"project", "--wat"}, 2, "--wat"},
		{"FlagWithoutCommand", at, 2, "name a command"},
		{"ImportNothing", []string{"import"}, 2, "FILE is missing"},
		{"ImportTwoFiles", []string{"import", "a", "b"}, 2, `"b"`},
		{"ImportNoSuchFile", append(at, "import", "/no/such/file"), 1, "no such file"},
		{"ImportDirectory", append(at, "import", t.TempDir()), 1, "is a directory"},
		{"ImportEmpty", append(at, "import", "-"), 1, "standard input: it is empty"},
		{"ImportOnErrorWhat", append(at, "import", file, "--on-error", "what"), 2, `"what"`},
		{"ImportOtherCSV", append(at, "import", written(t, "other.csv", "a,b\n1,2\n")), 1, "lacks the columns InvoiceNo,"},
		{"ListingWhat", append(at, "listing", "what"), 2, `"what"`},
		{"ListingBeforeProject", append(at, "listing", "chain"), 1, "run cart project"},
		{"ShowUnknown", append(at, "show", "nobody"), 1, "no cart nobody in namespace projectord"},
		{"ShowImpossible", append(at, "show", "a\nb"), 1, "control character"},
		{"BadNamespace", append(at, "project", "--namespace", "No"), 2, `"No"`},
		{"RunBadNamespace", append(at, "run", "--namespace", "No"), 2, `"No"`},
		{"BadURL", []string{"project", "--redis", "redis://u:sesame@h:x"}, 2, "redis://user:password@"},
		{"NoServer", []string{"project", "--redis", "redis://u:sesame@127.0.0.1:1"}, 1, "is the server running"},
		{"BadPostgresURL", append(at, "project", "--postgres", "postgres://u:sesame@h:x/d"), 2, "postgres://user:password@"},
		{"OtherPostgresURL", append(at, "run", "--postgres", "redis://u:sesame@h:1"), 2, "postgres://user:password@"},
		{"NoPostgres", append(at, "project", "--postgres", "postgres://u:sesame@127.0.0.1:1/d"), 1, "is the Postgres running, and the URL in --postgres"},
		{"ListingWithoutPostgres", append(at, "listing", "days"), 2, "by --postgres or " + postgresEnv},
		{"ListingWithPostgresDown", append(at, "listing", "orders", "--postgres", "postgres://u:sesame@127.0.0.1:1/d"), 1, "is the Postgres running"},
		{"RunWhat", append(at, "run", "what"), 2, `"what"`},
		{"RunShortTTL", append(at, "run", "--ttl", "1ms"), 2, "--ttl is 100ms or more"},
		{"RunNoTime", append(at, "run", "--ttl", "3"), 2, "--ttl"},
		{"RunNoCapacity", append(at, "run", "--capacity", "0"), 2, "--capacity is 1 or more"},
		{"RunBadName", append(at, "run", "--name", "a b"), 1, `worker name "a b"`},
		{"RunNoServer", []string{"run", "--redis", "redis://u:sesame@127.0.0.1:1"}, 1, "is the server running"},
		{"RunNoPostgres", append(at, "run", "--postgres", "postgres://u:sesame@127.0.0.1:1/d"), 1, "is the Postgres running"},
		{"HelpOfRun", []string{"run", "-h"}, 0, ""},
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

// A password in the environment must not show in the help either.
func TestHelpHidesEnvironment(t *testing.T) {
	t.Setenv(urlEnv, "redis://u:sesame@127.0.0.1:1")
	t.Setenv(postgresEnv, "postgres://u:sesame@127.0.0.1:1/d")
	for _, args := range [][]string{{"-h"}, {"project", "-h"}, {"project"}, {"run", "-h"}, {"run"}, {"listing", "days"}} {
		if r := cart(t.Context(), "", args...); strings.Contains(r.out+r.err, "sesame") {
			t.Errorf("cart %v tells the password:\n%s%s", args, r.out, r.err)
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
