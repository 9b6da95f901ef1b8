package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOtherLanguages runs the programs that a guide shows in other languages, each where its
// interpreter is there.
func TestOtherLanguages(t *testing.T) {
	t.Parallel()
	const path = "../../docs/guides/other-languages.md"
	guide, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range []struct{ fence, interpreter, suffix string }{
		{"python", "python3", ".py"},
		{"js", "node", ".mjs"},
	} {
		t.Run(language.fence, func(t *testing.T) {
			t.Parallel()
			shown := regexp.MustCompile("(?s)\n```"+language.fence+"\n(.*?)\n```\n").FindAllSubmatch(guide, -1)
			if len(shown) != 1 {
				t.Fatalf("%s shows %d programs", path, len(shown))
			}
			interpreter, err := exec.LookPath(language.interpreter)
			if err != nil {
				t.Skip(err)
			}
			program := filepath.Join(t.TempDir(), "program"+language.suffix)
			if err := os.WriteFile(program, shown[0][1], 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), interpreter, program, devShop(t)).CombinedOutput()
			const want = "followed 1 item_added 2"
			printed := strings.ToLower(string(out))
			if err != nil || !strings.Contains(printed, "version 1 duplicate true\nread 2\n"+want) {
				t.Errorf("it ends with %v and printed\n%s", err, out)
			}
		})
	}
}

var curled = regexp.MustCompile(`curl (http://[^/]+)/`)

// devShop starts the shop on a Redis in its process, and returns its address.
func devShop(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dev := exec.CommandContext(t.Context(), path, "dev", "--http", "127.0.0.1:0")
	dev.Env = append(os.Environ(), asShop+"=1")
	out, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	t.Cleanup(func() {
		_ = dev.Process.Kill()
		_ = dev.Wait()
	})
	for lines.Scan() {
		if m := curled.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() { // what else it says
				}
			}()
			return m[1]
		}
	}
	t.Fatal("the shop ended without an address")
	return ""
}
