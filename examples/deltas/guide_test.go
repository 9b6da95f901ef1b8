package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "DELTAS_TEST_AS_PROGRAM"

// TestGuide follows the guide that is about delta streams.
func TestGuide(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.FollowAll(t, guide.Program{Name: "deltas", Dir: "./examples/deltas", Path: path, Variable: asProgram})
}
