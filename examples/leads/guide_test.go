package main

import (
	"os"
	"testing"

	"github.com/projectord/projectord/internal/guide"
	"github.com/projectord/projectord/internal/testenv"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "LEADS_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if err := os.Setenv(asProgram, "1"); err != nil { // for all that tests start
		panic(err)
	}
	testenv.Main(m)
}

// TestGuide follows the guide that is about adopted streams.
func TestGuide(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guide.FollowAll(t, guide.Program{Name: "leads", Dir: "./examples/leads", Path: path, Variable: asProgram})
}
