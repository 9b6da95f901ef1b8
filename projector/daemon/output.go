package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
)

// The forms in which values are printed.
const (
	formTable = "table"
	formJSON  = "json"
	formYAML  = "yaml"
)

// view is a value that a command prints. In JSON and YAML it is the value itself, so
// that there is one place where the names of its fields are.
type view interface {
	// show writes it for people.
	show(p *page)
}

// page is where a view writes itself for people.
type page struct{ bytes.Buffer }

// line writes a line.
func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// table writes rows below their headings; nothing where there are no rows.
func (p *page) table(headings []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	p.columns(append([][]string{headings}, rows...))
}

// columns writes rows without headings.
func (p *page) columns(rows [][]string) {
	table := tabwriter.NewWriter(p, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				io.WriteString(table, "\t")
			}
			io.WriteString(table, cell)
		}
		io.WriteString(table, "\n")
	}
	table.Flush() // into memory
}

// render returns a value in a form. More of them can follow where it is one of many:
// JSON then is a line each, and YAML a document each.
func render(v view, form string, oneOfMany bool) ([]byte, error) {
	if form == formTable {
		var p page
		v.show(&p)
		return p.Bytes(), nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if form == formJSON && !oneOfMany {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(v); err != nil || form == formJSON {
		return text.Bytes(), err
	}
	// JSON is YAML, and this keeps its fields in their order.
	var node yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &node); err != nil {
		return nil, err
	}
	block(&node)
	var out bytes.Buffer
	if oneOfMany {
		out.WriteString("---\n")
	}
	y := yaml.NewEncoder(&out)
	y.SetIndent(2)
	err := y.Encode(&node)
	return out.Bytes(), err
}

// block has a value written as YAML is as a rule, and not as JSON.
func block(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = 0 // quoted where it has to be
	}
	if len(n.Content) == 0 && n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle // [] and {}
	}
	for _, child := range n.Content {
		block(child)
	}
}

// print prints a value in the form asked for.
func (p *program) print(v view) error { return p.printPart(v, false) }

// printPart prints a value that others follow.
func (p *program) printPart(v view, oneOfMany bool) error {
	text, err := render(v, p.form, oneOfMany)
	if err == nil {
		_, err = p.out.Write(text)
	}
	return err
}

// done is what a command did.
type done struct {
	Message    string `json:"message"`
	Projection string `json:"projection,omitempty"`
	Generation int    `json:"generation,omitempty"`
	Stream     string `json:"stream,omitempty"`
	Version    uint64 `json:"version,omitempty"`
	// Next is what to do next, as a command.
	Next string `json:"next,omitempty"`
}

// printDone prints what a command did, unless it failed.
func (p *program) printDone(did done, err error) error {
	if err != nil {
		return err
	}
	return p.print(did)
}

func (d done) show(p *page) {
	p.line("%s", d.Message)
	if d.Next != "" {
		p.line("next: %s", d.Next)
	}
}

// count writes a number with separators: 567,809.
func count[N int | int64 | uint64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// ago writes a time as how long it is gone, in one unit.
func ago(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours())/24) + "d"
}

// clip shortens a text to one line of so many characters.
func clip(text string, most int) string {
	clipped := []rune{}
	for _, r := range text {
		if r == '\n' || r == '\t' || r == '\r' {
			r = ' '
		}
		if len(clipped) == most {
			return string(clipped) + "…"
		}
		clipped = append(clipped, r)
	}
	return string(clipped)
}

// orDash is a dash in place of nothing.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
