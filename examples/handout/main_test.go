package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
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
