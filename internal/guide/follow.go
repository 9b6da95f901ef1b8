package guide

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// documents are the patterns of the documents that are followed.
var documents = []string{"docs/tutorial.md", "docs/guides/*.md"}

// FollowAll runs the commands of all guides, and of the tutorial, that go run or go build
// the program, each in a test of its own. Such a test fails where a command fails or does
// not print what the document says.
//
// The program and the others are on the PATH, and go run and go build of them take no
// time; go test tests packages of this module. PROJECTORD_REDIS_URL names a Redis,
// SHOP_POSTGRES has the URL of a Postgres, and SHOP_PORT is the first of three free ports.
func FollowAll(t *testing.T, program Program, others ...Program) {
	module, err := root()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := list(module)
	if err != nil {
		t.Fatal(err)
	}
	followed := 0
	for _, path := range paths {
		blocks, err := read(path)
		if err != nil {
			t.Fatal(err)
		}
		if !uses(blocks, program.Dir) {
			continue
		}
		followed++
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			follow(t, module, blocks, append([]Program{program}, others...))
		})
	}
	if followed == 0 {
		t.Errorf("no guide runs %s", program.Dir)
	}
}

// Follow does the same with one document, of the path that a test of its package sees it
// by: the README of an example has commands too.
func Follow(t *testing.T, document string, program Program, others ...Program) {
	module, err := root()
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := read(document)
	if err != nil {
		t.Fatal(err)
	}
	if !uses(blocks, program.Dir) {
		t.Fatalf("%s does not run %s", document, program.Dir)
	}
	follow(t, module, blocks, append([]Program{program}, others...))
}

// root returns the directory of the module that the test is in.
func root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", fmt.Errorf("%s is in no module", dir)
		}
		dir = above
	}
	return "", err
}

// list returns the paths of the documents of a module.
func list(module string) (all []string, err error) {
	for _, pattern := range documents {
		found, err := filepath.Glob(filepath.Join(module, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// uses reports whether commands go run or go build the program of a directory.
func uses(blocks []block, dir string) bool {
	return slices.ContainsFunc(blocks, func(b block) bool {
		return slices.ContainsFunc(strings.Split(b.commands, "\n"), func(line string) bool {
			words := strings.Fields(line)
			at := slices.Index(words, "go")
			return at >= 0 && slices.Contains(words[at:], dir)
		})
	})
}
