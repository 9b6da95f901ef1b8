package guide

import (
	"fmt"
	"regexp"
	"strings"
)

// differences returns what a block does not print though the document says so.
func (b block) differences(printed string) (all []error) {
	for _, t := range b.prints {
		if missing, ok := t.missing(printed); !ok {
			all = append(all, fmt.Errorf("the document says that\n%sprints\n%s\nand it prints\n%s", b.commands, missing, printed))
		}
	}
	return all
}

// missing returns the first line that was not printed behind those before it.
func (t text) missing(printed string) (line string, ok bool) {
	if t.varies {
		return "something", strings.TrimSpace(printed) != ""
	}
	same := comparable
	if t.exact {
		same = plain
	}
	rest := strings.Split(printed, "\n")
	for line := range strings.Lines(t.lines) {
		line = strings.TrimSuffix(line, "\n")
		want, at := same(line), 0
		for at < len(rest) && same(rest[at]) != want {
			at++
		}
		if at == len(rest) {
			return line, false
		}
		rest = rest[at+1:]
	}
	return "", true
}

var (
	logged   = regexp.MustCompile(`^time=\S+ `)
	session  = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
	id       = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	duration = regexp.MustCompile(`\b\d[\d.]*(ms|s|µs|m\d+s)\b`)
	number   = regexp.MustCompile(`\d[\d,.]*`)
	spaces   = regexp.MustCompile(` +`)
)

// comparable leaves out of a line what differs from run to run.
func comparable(line string) string {
	line = logged.ReplaceAllString(line, "")
	line = session.ReplaceAllString(line, "#")
	line = id.ReplaceAllString(line, "#")
	line = duration.ReplaceAllString(line, "#")
	line = number.ReplaceAllString(line, "#")
	line = strings.ReplaceAll(line, "about #", "#")
	return plain(line)
}

// plain leaves out how many spaces there are, which depends on how long other cells of
// a table are.
func plain(line string) string { return strings.TrimSpace(spaces.ReplaceAllString(line, " ")) }
