package daemon

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// described is the API as its file describes it.
var described = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	if err == nil {
		err = doc.Validate(openapi3.NewLoader().Context)
	}
	return doc, err
})

// inFile returns the pattern of a route as the path in the file.
func inFile(pattern string) string { return strings.ReplaceAll(pattern, "...}", "}") }

// The file and the table of routes say the same: paths, methods, parameters and what they
// are for.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	var log transcript
	routes := make(map[string]route)
	for _, r := range unserved(t, &log).routes {
		routes[r.method+" "+inFile(r.pattern)] = r
	}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			r, found := routes[method+" "+path]
			delete(routes, method+" "+path)
			if !found {
				t.Errorf("openapi.yaml has %s %s, which is no route", method, path)
				continue
			}
			var query, inPath []string
			for _, p := range append(slices.Clone(item.Parameters), operation.Parameters...) {
				switch p.Value.In {
				case "query":
					query = append(query, p.Value.Name)
				case "path":
					inPath = append(inPath, "{"+p.Value.Name+"}")
				}
			}
			slices.Sort(query)
			if want := slices.Sorted(slices.Values(r.params)); !slices.Equal(query, want) {
				t.Errorf("%s %s takes %q in openapi.yaml, and %q as a route", method, path, query, want)
			}
			if n := strings.Count(path, "{"); n != len(inPath) || slices.ContainsFunc(inPath, func(p string) bool { return !strings.Contains(path, p) }) {
				t.Errorf("%s %s has %q in its path", method, path, inPath)
			}
			if operation.Summary != r.summary && r.pattern != "/api/v1/openapi.yaml" {
				t.Errorf("%s %s is %q in openapi.yaml, and %q as a route", method, path, operation.Summary, r.summary)
			}
			if _, events := operation.Responses.Value("200").Value.Content["text/event-stream"]; events != (r.within == untilEnd) {
				t.Errorf("%s %s: the answer is text/event-stream: %v", method, path, events)
			}
			if (operation.Security != nil) != (r.probe || r.file) {
				t.Errorf("%s %s: probes and files are what anybody may ask for without a token", method, path)
			}
		}
	}
	for _, r := range slices.Sorted(maps.Keys(routes)) {
		t.Errorf("openapi.yaml lacks %s", r)
	}
}

// asDescribed returns an error where an answer is not as the file says, nor its request
// where that was good.
func asDescribed(r *http.Request, pattern, sent string, status int, kind, body string) error {
	doc, err := described()
	if err != nil {
		return err
	}
	method, path, _ := strings.Cut(pattern, " ")
	schema := doc.Components.Schemas["Error"].Value
	if pattern == "" && status < 400 {
		return nil // a route of the test's own
	}
	if item := doc.Paths.Value(inFile(path)); pattern != "" && item != nil {
		operation := item.GetOperation(method)
		answer := operation.Responses.Status(status)
		if answer == nil {
			answer = operation.Responses.Default()
		}
		content, there := answer.Value.Content[kind]
		if answer.Value.Content != nil && !there {
			return fmt.Errorf("status %d as %s is not described", status, kind)
		}
		if schema = nil; there && content.Schema != nil {
			schema = content.Schema.Value
		}
		if sent != "" && status < 300 && operation.RequestBody != nil {
			if err := fits(operation.RequestBody.Value.Content["application/json"].Schema.Value, sent); err != nil {
				return fmt.Errorf("the body of the request: %w", err)
			}
		}
	}
	if schema == nil || r.Method == http.MethodHead {
		return nil
	}
	return fits(schema, body)
}

func fits(schema *openapi3.Schema, text string) error {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	return schema.VisitJSON(value, openapi3.EnableJSONSchema2020())
}
