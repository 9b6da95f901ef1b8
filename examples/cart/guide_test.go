package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
)

// TestGuide follows the guides that are about the cart.
func TestGuide(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.FollowAll(t, guide.Program{Name: "cart", Dir: "./examples/cart", Path: path, Variable: asProgram})
}
