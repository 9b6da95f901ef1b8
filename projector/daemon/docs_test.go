package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// repository is where the documents are, seen from here.
const repository = "../.."

// markdown returns all documents of the repository, by their paths in it.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != repository && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(repository, path)
		all[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("there are %d documents", len(all))
	}
	return all
}

var codeBlock = regexp.MustCompile("(?ms)^[ ]*```([^\n]*)\n(.*?)^[ ]*```$")

// TestCommandsInDocuments checks that every command of projectord that a document shows
// exists, with its arguments and flags.
func TestCommandsInDocuments(t *testing.T) {
	found := 0
	for name, text := range markdown(t) {
		for _, m := range codeBlock.FindAllStringSubmatch(text, -1) {
			shown := m[2]
			switch language, _, _ := strings.Cut(m[1], " "); language {
			case "sh":
			case "console":
				shown = session(shown)
			default:
				continue
			}
			for _, call := range calls(shown) {
				found++
				if problem := misuse(call); problem != "" {
					t.Errorf("%s: %s: %s", name, strings.Join(call, " "), problem)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("the documents show %d commands", found)
	}
}

// session returns what is typed in a session that is shown: the lines behind the prompt.
func session(shown string) string {
	var b strings.Builder
	for line := range strings.Lines(shown) {
		if command, is := strings.CutPrefix(line, "$ "); is {
			b.WriteString(command)
		}
	}
	return b.String()
}

// misuse says what is wrong with the arguments of a call, "" where nothing is.
func misuse(args []string) string {
	root := (&program{app: App{Name: "shop"}}).newRoot()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(args)
	switch {
	case err != nil:
		return err.Error()
	case cmd == root && len(rest) > 0 && !strings.HasPrefix(rest[0], "-"):
		return "there is no such command"
	}
	if err := cmd.ParseFlags(rest); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return ""
		}
		return err.Error()
	}
	if cmd.HasSubCommands() && len(cmd.Flags().Args()) > 0 {
		return "there is no such command"
	}
	if err := cobra.PositionalArgs(cmd.Args)(cmd, cmd.Flags().Args()); cmd.Args != nil && err != nil {
		return err.Error()
	}
	return ""
}

// own are commands that programs have of their own, which the documents show too: a shop's,
// and projectord's.
var own = []string{"add", "bench"}

// isProgram reports whether a word calls a program with the commands of this package.
func isProgram(word string) bool {
	return slices.Contains([]string{"shop", "projectord"}, filepath.Base(word))
}

// calls returns the arguments of what a block of commands calls of projectord.
func calls(text string) (all [][]string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		for _, command := range simple(line) {
			for len(command) > 0 && strings.Contains(command[0], "=") || len(command) > 0 && slices.Contains([]string{"until", "do", "if", "then", "!"}, command[0]) {
				command = command[1:]
			}
			switch {
			case len(command) > 2 && command[0] == "go" && command[1] == "run" && (command[2] == "./cmd/projectord" || command[2] == "./examples/tutorial"):
				command = command[2:]
			case len(command) == 0 || !isProgram(command[0]):
				continue
			}
			if args := command[1:]; len(args) == 0 || !slices.Contains(own, args[0]) {
				all = append(all, args)
			}
		}
	}
	return all
}

// simple splits a line of a shell script into its commands, and those into words.
func simple(line string) (commands [][]string) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	endWord := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	endCommand := func() {
		endWord()
		if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, ">") || strings.HasPrefix(w, "2>") }); i >= 0 {
			words = words[:i]
		}
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	for _, c := range strings.TrimSpace(line) {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == '#' && !inWord:
			endCommand()
			return commands
		case c == ';' || c == '|' || c == '&' || c == '(' || c == ')':
			endCommand()
		case c == ' ' || c == '\t':
			endWord()
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	endCommand()
	return commands
}

// TestMisuseIsFound checks that the test above could fail.
func TestMisuseIsFound(t *testing.T) {
	for line, says := range map[string]string{
		"shop status --watch":                            "",
		"./shop wait contents cart-42 3 | cat":           "",
		"FOO=1 ./projectord parked ls -o json # all":     "",
		"until ./shop status | grep x; do sleep 1; done": "",
		"shop statuss":                                     "no such command",
		"shop streams sho cart-42":                         "no such command",
		"shop status --wach":                               "unknown flag",
		"shop wait contents":                               "STREAM is missing",
		"echo $(shop status --wach)":                       "unknown flag",
		"go run ./cmd/projectord status; shop run --nam x": "unknown flag",
	} {
		got := ""
		for _, call := range calls(session("$ " + line + "\nshop says: no such thing\n")) {
			got += misuse(call)
		}
		if (got == "") != (says == "") || !strings.Contains(got, says) {
			t.Errorf("%s: got %q, want %q", line, got, says)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	inCode  = regexp.MustCompile("(?s)```.*?```")
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors that the headings of a document make.
func anchors(text string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(inCode.ReplaceAllString(text, ""), -1) {
		anchor := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(m[1])), ""), " ", "-")
		all = append(all, anchor)
	}
	return all
}

// TestLinksInDocuments checks that what documents link to in the repository is there, and
// that the contents of docs name every document of it.
func TestLinksInDocuments(t *testing.T) {
	documents := markdown(t)
	linked := make(map[string]bool)
	for name, text := range documents {
		for _, m := range link.FindAllStringSubmatch(inCode.ReplaceAllString(text, ""), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			target := filepath.ToSlash(filepath.Join(filepath.Dir(name), to))
			if to == "" {
				target = name
			}
			if name == "docs/README.md" {
				linked[target] = true
			}
			if _, err := os.Stat(filepath.Join(repository, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			} else if anchor != "" && !slices.Contains(anchors(documents[target]), anchor) {
				t.Errorf("%s links to %s, which has no such heading", name, m[1])
			}
		}
	}
	for name := range documents {
		if strings.HasPrefix(name, "docs/") && name != "docs/README.md" && !linked[name] {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
}

// TestRunbookHasAlerts checks that every alert that is shipped leads to a heading.
func TestRunbookHasAlerts(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(repository, "deploy", "prometheus", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	runbook := anchors(markdown(t)["docs/runbook.md"])
	alerts := regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`).FindAllStringSubmatch(string(rules), -1)
	for _, m := range alerts {
		if !slices.Contains(runbook, strings.ToLower(m[1])) {
			t.Errorf("docs/runbook.md has no heading %s", m[1])
		}
	}
	if len(alerts) == 0 {
		t.Error("there are no alerts")
	}
}
