package main

import (
	"os"
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

// TestCommands is what the guide does not show: what is refused.
func TestCommands(t *testing.T) {
	t.Setenv("PROJECTORD_REDIS_URL", testenv.RedisURL(t))
	var out strings.Builder
	for _, args := range [][]string{{"announce"}, {"what"}, {"work", "--capacity", "-1"}} {
		if err := run(t.Context(), args, &out); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}
