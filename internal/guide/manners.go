package guide

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	behindGoRun = regexp.MustCompile(`\bgo run\b[^|;]*[^&]&\s*$`)
	jobNumber   = regexp.MustCompile(`\b(kill|wait|fg|bg)\b[^;&|]*%[0-9+%-]`)
	waitForAll  = regexp.MustCompile(`(^|[;&|]|\bdo )\s*wait\s*($|[;&|#])`)
	exported    = regexp.MustCompile(`^\s*export (.*)$`)
	assigned    = regexp.MustCompile(`(?:^|\s)([A-Za-z_][A-Za-z0-9_]*)=`)
	unset       = regexp.MustCompile(`^\s*unset (.*)$`)
)

// manners returns what commands do that would go wrong in the shell of a reader, who has
// jobs and files of his own there, and whose go is not the one of the tests.
func manners(blocks []block) (wrong []error) {
	set := make(map[string]bool)
	for _, b := range blocks {
		for line := range strings.Lines(b.commands) {
			line = strings.TrimSuffix(line, "\n")
			refuse := func(why string) { wrong = append(wrong, fmt.Errorf("%s: %s", line, why)) }
			if behindGoRun.MatchString(line) {
				refuse("a signal for go run does not reach the program that it runs: build it, and run that")
			}
			if jobNumber.MatchString(line) {
				refuse("the reader may have other jobs: keep $! in a variable")
			}
			if waitForAll.MatchString(line) {
				refuse("it waits for all jobs that the reader has: name those to wait for")
			}
			if m := exported.FindStringSubmatch(line); m != nil {
				for _, name := range assigned.FindAllStringSubmatch(m[1], -1) {
					set[name[1]] = true
				}
			}
			if m := unset.FindStringSubmatch(line); m != nil {
				for _, name := range strings.Fields(m[1]) {
					delete(set, name)
				}
			}
		}
	}
	if len(set) > 0 {
		names := slices.Sorted(maps.Keys(set))
		wrong = append(wrong, errors.New("the reader's shell keeps what is exported: unset "+strings.Join(names, " ")))
	}
	return wrong
}
