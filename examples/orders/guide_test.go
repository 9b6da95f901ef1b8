package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
)

// TestGuide follows the README, whose commands are for real servers.
func TestGuide(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.Follow(t, "README.md", guide.Program{Name: "orders", Dir: "./examples/orders", Path: path, Variable: asProgram})
}
