package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "HANDOUT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testenv.Main(m)
}

func TestStory(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(t.Context(), nil, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, want := range []string{"one has cart-1", "two has cart-3, taken over: false", "two has cart-1, taken over: true", "It has finished all of them."} {
		if !slices.Contains(lines, want) {
			t.Errorf("the story lacks %q:\n%s", want, out.String())
		}
	}
}

// A worker is listed by its name, whatever that has in it.
func TestList(t *testing.T) {
	t.Parallel()
	b, err := balancer.Open(t.Context(), testenv.Redis(t), balancer.Config{Namespace: testenv.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Announce(t.Context(), balancer.Announcement{Stream: "user-1"}); err != nil {
		t.Fatal(err)
	}
	w, err := b.Join(t.Context(), balancer.WorkerConfig{Name: "10.1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	<-w.Notifications()
	var out strings.Builder
	if err := list(t.Context(), b, &out); err != nil || !strings.Contains(out.String(), " 10.1.2.3\n") {
		t.Error("listed is", out.String(), err)
	}
}

// What is called wrongly is refused with code 2, and help is given, before any server is
// asked for: there is none.
func TestUsage(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"-h", 0, "handout announce STREAM INFO"},
		{"help", 0, "handout ls"},
		{"ls -h", 0, "handout ls"},
		{"work -h", 0, "-capacity"},
		{"work --bad", 2, "work: flag provided but not defined: -bad: handout -h says"},
		{"work --capacity many", 2, "invalid value"},
		{"work cart-1", 2, `work takes flags only, not "cart-1"`},
		{"announce cart-1", 2, "announce takes STREAM and INFO"},
		{"ls all", 2, "ls takes nothing"},
		{"anounce cart-1 hello", 2, `there is no command "anounce"`},
		{"serve", 2, `there is no command "serve"`},
		{"ls", 1, "refused"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), path, strings.Fields(c.args)...)
			cmd.Env = append(os.Environ(), asProgram+"=1", "PROJECTORD_REDIS_URL=redis://127.0.0.1:1")
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("it ends with code %d, %v, and says %s", code, err, out)
			}
		})
	}
}

// A worker that cannot be is refused by the package.
func TestWorkRefused(t *testing.T) {
	t.Setenv("PROJECTORD_REDIS_URL", testenv.RedisURL(t))
	if err := run(t.Context(), []string{"work", "--capacity", "-1"}, io.Discard); err == nil || errors.Is(err, errUsage) {
		t.Error("a capacity of -1:", err)
	}
}
