package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/daemon"
)

// These are set in the environment of a test process that is to be a program.
const (
	asShop       = "TUTORIAL_TEST_AS_SHOP"
	asProjectord = "TUTORIAL_TEST_AS_PROJECTORD"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asShop) != "":
		main()
	case os.Getenv(asProjectord) != "":
		daemon.Main(daemon.App{Name: "projectord"})
	}
	testenv.Main(m)
}

// TestGuide follows the tutorial, and the guides that are about its shop.
func TestGuide(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.FollowAll(t,
		guide.Program{Name: "shop", Dir: "./examples/tutorial", Path: path, Variable: asShop},
		guide.Program{Name: "projectord", Dir: "./cmd/projectord", Path: path, Variable: asProjectord})
}
