package daemon

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loggedKey are the functions that log, by how many arguments come before the keys.
var loggedKey = map[string]int{
	"With": 0, "Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "DebugContext": 2, "WarnContext": 2,
	"chore": 2, "level": 2, // of worker.go and http_answer.go
}

// Every key of the log is one that the guide lists.
func TestLogKeys(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/guides/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := []string{"time", "level", "msg"}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_`, ]+`) \\| \\S").FindAllStringSubmatch(string(guide), -1) {
		for key := range strings.SplitSeq(row[1], ", ") {
			listed = append(listed, strings.Trim(key, "`"))
		}
	}
	calls := 0
	for _, dir := range []string{".", "..", "../lease"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				keys := keysOf(call)
				if len(keys) > 0 {
					calls++
				}
				for _, key := range keys {
					if !slices.Contains(listed, key) {
						t.Errorf("%s logs the key %q, which docs/guides/observe.md does not list", path, key)
					}
				}
				return true
			})
		}
	}
	if calls < 20 {
		t.Errorf("only %d calls log something", calls)
	}
}

// keysOf returns the keys of a call that logs.
func keysOf(call *ast.CallExpr) []string {
	name, by := "", ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name, by = f.Name, "logger"
	case *ast.SelectorExpr:
		name = f.Sel.Name
		switch x := f.X.(type) {
		case *ast.Ident:
			by = x.Name
		case *ast.SelectorExpr:
			by = x.Sel.Name
		}
	}
	before, ok := loggedKey[name]
	if !ok || !strings.EqualFold(by, "logger") && name != "chore" {
		return nil
	}
	var keys []string
	for i := before; i < len(call.Args); i += 2 {
		if literal, ok := call.Args[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			key, _ := strconv.Unquote(literal.Value)
			keys = append(keys, key)
		}
	}
	return keys
}

// Durations are texts in either format, and errors too.
func TestLogValues(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"text": "after=1.5s", "json": `"after":"1.5s"`} {
		var out bytes.Buffer
		p := &program{err: &out, config: &config{settings: settings{LogLevel: "info", LogFormat: format}}}
		p.newLogger().Info("it goes on", slog.Duration("after", 1500*time.Millisecond), "reason", errUnsettled)
		if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), errUnsettled.Error()) {
			t.Errorf("%s: %s", format, out.String())
		}
		if format == "json" && !json.Valid(out.Bytes()) {
			t.Errorf("no JSON: %s", out.String())
		}
	}
}
