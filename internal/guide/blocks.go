package guide

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// A block is commands, and what they print.
type block struct {
	commands string
	exits    string // the codes of the commands that fail, each with a space in front
	prints   []text
}

// text is what a document says that commands print.
type text struct {
	lines  string
	exact  bool
	varies bool
}

var fence = regexp.MustCompile("(?ms)^```(sh|text)([^\n]*)\n(.*?)^```$")

// read returns the blocks of commands of a document. It has to have some.
func read(path string) ([]block, error) {
	document, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	blocks, err := parse(string(document))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return blocks, nil
}

func parse(document string) (blocks []block, err error) {
	for _, m := range fence.FindAllStringSubmatch(document, -1) {
		kind, words, lines := m[1], strings.Fields(m[2]), m[3]
		if kind == "sh" {
			b := block{commands: lines}
			if b.exits, err = exits(words); err != nil {
				return nil, err
			}
			blocks = append(blocks, b)
			continue
		}
		if len(blocks) == 0 {
			return nil, fmt.Errorf("no commands are above what is printed:\n%s", lines)
		}
		t := text{lines: lines, exact: slices.Contains(words, "exact"), varies: slices.Contains(words, "varies")}
		if known := map[bool]int{true: 1}; len(words) != known[t.exact]+known[t.varies] {
			return nil, fmt.Errorf("```text%s: the words there may be are exact and varies", m[2])
		}
		last := &blocks[len(blocks)-1]
		last.prints = append(last.prints, t)
	}
	if len(blocks) == 0 {
		return nil, errors.New("there are no commands in it")
	}
	return blocks, errors.Join(manners(blocks)...)
}

var exitCode = regexp.MustCompile(`^[1-9]\d{0,2}$`)

// exits returns the codes that the words behind sh name.
func exits(words []string) (string, error) {
	if len(words) == 0 {
		return "", nil
	}
	if words[0] != "exits" || len(words) == 1 || slices.ContainsFunc(words[1:], func(w string) bool { return !exitCode.MatchString(w) }) {
		return "", fmt.Errorf("```sh %s: the words there may be are exits, and the codes of the commands that fail", strings.Join(words, " "))
	}
	return " " + strings.Join(words[1:], " "), nil
}
