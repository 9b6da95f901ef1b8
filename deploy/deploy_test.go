package deploy

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// uid is the user the image is made for.
const uid = 65532

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// setting is a row of the reference.
type setting struct {
	initial string
	secret  bool
}

// reference returns the settings by their variables, as the reference has them.
func reference(t *testing.T) map[string]setting {
	t.Helper()
	all := make(map[string]setting)
	for _, row := range regexp.MustCompile("(?m)^\\| `[^|]*\\| `(PROJECTORD_[A-Z_]+)` \\| [a-zA-Z]+ \\| (?:`([^`]*)`)? *\\| (.*) \\|$").FindAllSubmatch(read(t, "../docs/reference/configuration.md"), -1) {
		all[string(row[1])] = setting{string(row[2]), bytes.HasSuffix(row[3], []byte("*secret*"))}
	}
	if len(all) < 20 {
		t.Fatalf("the reference has %d settings", len(all))
	}
	all["PROJECTORD_CONFIG"] = setting{}
	return all
}

// environment is what a program is started with.
type environment map[string]string

// check reports what is wrong with the variables, and returns how long the program drains.
func (e environment) check(t *testing.T) (drain time.Duration) {
	t.Helper()
	known := reference(t)
	for name, value := range e {
		if problem := wrong(known, name, value); problem != "" {
			t.Errorf("%s %s", name, problem)
		}
	}
	text := e["PROJECTORD_DRAIN_TIMEOUT"]
	if text == "" {
		text = known["PROJECTORD_DRAIN_TIMEOUT"].initial
	}
	drain, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return drain
}

var withPassword = regexp.MustCompile(`://[^/@]*:[^/@]*@`)

// wrong says what is wrong with a variable: it is no setting, or shows a secret.
func wrong(known map[string]setting, name, value string) string {
	if !strings.HasPrefix(name, "PROJECTORD_") {
		return ""
	}
	s, there := known[name]
	plain, file := strings.CutSuffix(name, "_FILE")
	switch {
	case there && s.secret && strings.Contains(value, "://"):
		if withPassword.MatchString(value) {
			return "has a password in it"
		}
		return ""
	case there && s.secret:
		return "is a secret: give it by a file"
	case there:
		return ""
	case !file || !known[plain].secret:
		return "is no setting"
	case value == "":
		return "names no file"
	}
	return ""
}

// wantGrace checks that there is time for draining and for what comes after it.
func wantGrace(t *testing.T, what string, grace, drain time.Duration) {
	t.Helper()
	if grace < drain+5*time.Second {
		t.Errorf("%s is %s, too short for a drain of %s and what comes after it", what, grace, drain)
	}
}

// The check of variables refuses what it is there to refuse.
func TestWrong(t *testing.T) {
	known := reference(t)
	for variable, says := range map[string]string{
		"PROJECTORD_NAMESPACE=shop":                      "",
		"POD_NAME=x":                                     "",
		"PROJECTORD_REDIS_PASSWORD_FILE=/run/x":          "",
		"PROJECTORD_POSTGRES_URL=postgres://u@h/d":       "",
		"PROJECTORD_NAMESPACES=shop":                     "no setting",
		"PROJECTORD_REDIS_PASSWORD=x":                    "give it by a file",
		"PROJECTORD_REDIS_PASSWORD_FILE=":                "names no file",
		"PROJECTORD_NAMESPACE_FILE=/run/x":               "no setting",
		"PROJECTORD_POSTGRES_URL=postgres://u:p@h:5432/": "password",
	} {
		name, value, _ := strings.Cut(variable, "=")
		if got := wrong(known, name, value); (got == "") != (says == "") || !strings.Contains(got, says) {
			t.Errorf("%s: got %q, want that it says %q", variable, got, says)
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := string(read(t, "Dockerfile"))
	var stages, last []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "FROM" {
			stages, last = append(stages, fields[1]), nil
		}
		last = append(last, strings.TrimSpace(line))
	}
	if len(stages) != 2 || !strings.HasPrefix(stages[1], "gcr.io/distroless/static") {
		t.Errorf("the stages are %v", stages)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(read(t, "../go.mod")))[1]
	if stages[0] != "golang:"+version {
		t.Errorf("it is built by %s, go.mod says %s", stages[0], version)
	}
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath", "ARG PACKAGE=./cmd/projectord", "-X main.version="} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	for _, want := range []string{"USER 65532:65532", `ENTRYPOINT ["/projectord"]`, "STOPSIGNAL SIGTERM"} {
		if !slices.Contains(last, want) {
			t.Errorf("its last stage lacks %s", want)
		}
	}
	for _, path := range regexp.MustCompile(`\./[a-z/]+`).FindAllString(text, -1) {
		if found, _ := filepath.Glob(filepath.Join("..", path, "*.go")); found == nil {
			t.Errorf("%s is no package", path)
		}
	}
}
