package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
)

// TestGuide follows the guide that is about handing streams out.
func TestGuide(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.FollowAll(t, guide.Program{Name: "handout", Dir: "./examples/handout", Path: path, Variable: asProgram})
}
