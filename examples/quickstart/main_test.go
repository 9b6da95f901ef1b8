package main

import (
	"os"
	"strings"
	"testing"
)

func Example() {
	main()
	// Output:
	// version 2 error <nil>
	// version 3 error <nil>
	// version 0 error executing a command on cart-42: there is no tea in the cart
	// {Streams:1 Documents:1 Events:3 Refused:0 Halted:0}
	// [0 1]
}

// The README shows this program; it has to be the one that runs.
func TestReadmeShowsThisProgram(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(source), "\n") // without its comment
	if !strings.Contains(string(readme), program) {
		t.Error("README.md does not show examples/quickstart/main.go as it is")
	}
}
