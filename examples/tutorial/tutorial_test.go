package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?ms)^`([a-z_/]+\\.go)`\n\n```go\n(.*?)^```$")

// TestTutorialShowsTheProgram checks that the tutorial shows each file of the program as
// it is, and no others.
func TestTutorialShowsTheProgram(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]string)
	for _, m := range goBlock.FindAllStringSubmatch(string(text), -1) {
		shown[m[1]] = m[2]
	}
	if blocks := strings.Count(string(text), "```go\n"); blocks != len(shown) {
		t.Errorf("the tutorial has %d blocks of Go, and %d files", blocks, len(shown))
	}
	here, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	below, err := filepath.Glob("cart/*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := slices.Concat(slices.DeleteFunc(here, func(f string) bool { return strings.HasSuffix(f, "_test.go") }), below)
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if shown[filepath.ToSlash(file)] != string(source) {
			t.Errorf("the tutorial does not show %s as it is", file)
		}
	}
	if len(files) != len(shown) {
		t.Errorf("the tutorial shows %d files, and the program has %d", len(shown), len(files))
	}
}
