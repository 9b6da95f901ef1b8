package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// TestGuide runs the commands of each guide as they are written there, in one shell, and
// compares what they print with what the guide says they print, numbers aside.
func TestGuide(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rebuild.md", "retention.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			followGuide(t, filepath.Join("..", "..", "docs", "guides", name))
		})
	}
}

func followGuide(t *testing.T, guide string) {
	t.Helper()
	blocks := guideBlocks(t, guide)
	dir := t.TempDir()
	script := "go() { :; }\nset -m\n" // the program is built already, and its jobs have numbers
	for _, b := range blocks {
		script += b.commands + "printf '\\n%s\\n' '" + blockEnd + "'\n"
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	wrapper := "#!/bin/sh\n" + asProgram + `=1 exec "` + path + `" "$@"` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "cart"), []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = environment(urlEnv+"="+testenv.StartRedis(t).URL(), "SHOP_POSTGRES="+testenv.Postgres(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	printed := strings.Split(string(out), "\n"+blockEnd+"\n")
	if len(printed) != len(blocks)+1 {
		t.Fatalf("%d blocks printed something; want %d\n%s", len(printed)-1, len(blocks), out)
	}
	for i, b := range blocks {
		got := numberless(printed[i])
		for line := range strings.Lines(b.prints) {
			if !strings.Contains(got, numberless(line)) {
				t.Errorf("the guide says that\n%sprints\n%sand it prints\n%s", b.commands, line, printed[i])
			}
		}
	}
}

// blockEnd is printed after each block.
const blockEnd = "-- end of a block"

// guideBlock is commands, and what they print.
type guideBlock struct{ commands, prints string }

var fence = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

func guideBlocks(t *testing.T, path string) (blocks []guideBlock) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		if m[1] == "sh" {
			blocks = append(blocks, guideBlock{commands: m[2]})
		} else {
			blocks[len(blocks)-1].prints += m[2]
		}
	}
	if len(blocks) < 5 {
		t.Fatalf("%s has %d blocks of commands", path, len(blocks))
	}
	return blocks
}

var (
	duration = regexp.MustCompile(`\b\d[\d.]*(ms|s|µs)\b`)
	number   = regexp.MustCompile(`\d[\d,.]*`)
	spaces   = regexp.MustCompile(` +`)
)

// numberless leaves out of a text what differs from machine to machine.
func numberless(text string) string {
	text = duration.ReplaceAllString(text, "#")
	text = number.ReplaceAllString(text, "#")
	text = strings.ReplaceAll(text, "about #", "#")
	return spaces.ReplaceAllString(text, " ")
}
