package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
	"github.com/projectord/projectord/internal/testenv"
)

// asShop is set in the environment of a test process that is to be the program.
const asShop = "FILESINK_TEST_AS_SHOP"

func TestMain(m *testing.M) {
	if os.Getenv(asShop) != "" {
		main()
	}
	testenv.Main(m)
}

// TestGuide follows the guide that is about this program.
func TestGuide(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.FollowAll(t, guide.Program{Name: "shop", Dir: "./examples/filesink", Path: path, Variable: asShop})
}
