package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/bench"
)

var update = flag.Bool("update", false, "write the reference of bench in docs/ anew")

// The reference of bench is made of its help and of the rows there are. Those of the other
// commands are package daemon's.
func TestReference(t *testing.T) {
	const path = "../../docs/reference/bench.md"
	text := benchReference()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := os.ReadFile(path); err != nil || string(there) != text {
		t.Errorf("docs/reference/bench.md is not current (%v): go test ./cmd/projectord -run TestReference -update writes it", err)
	}
}

func benchReference() string {
	cmd := newBench(nil)
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Made by go test ./cmd/projectord -run TestReference -update -->\n\n# bench\n\n%s.\n\n%s\n", cmd.Short, cmd.Long)
	fmt.Fprintf(&b, "\n```\nprojectord %s\n\n%s```\n", cmd.UseLine(), cmd.LocalFlags().FlagUsages())
	fmt.Fprintf(&b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	fmt.Fprintf(&b, "\n## How to read it\n\n%s\n\n## Goals and limits\n\n%s\n", bench.HowToRead, bench.GoalsAndLimits)
	b.WriteString("\n## Rows\n\n| row | unit | limit | goal | |\n|---|---|---|---|---|\n")
	for _, row := range bench.Rows() {
		limit, about := "none", row.About
		if row.Limit != nil {
			limit = *row.Limit
		}
		if row.Full {
			about += " With `--full`, or named by `--only`."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", row.Name, row.Unit, limit, row.GoalText(), about)
	}
	return b.String()
}
