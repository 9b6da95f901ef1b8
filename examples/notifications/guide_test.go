package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
)

// TestReadme runs the commands of the README.
func TestReadme(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.Follow(t, "README.md", guide.Program{Name: "notifications", Dir: "./examples/notifications", Path: path, Variable: asProgram})
}
