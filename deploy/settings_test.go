package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program takes every environment that is shipped, values and all. The files that
// variables name are made up; nothing is connected to.
func TestSettingsAreValid(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "projectord")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/projectord").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file := filepath.Join(dir, "secret")
	config := filepath.Join(dir, "projectord.yaml")
	for path, text := range map[string]string{file: "made-up-secret", config: "postgres-url: postgres://projectord@127.0.0.1/projectord"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	validate := func(env environment) (string, error) {
		check := exec.Command(program, "config", "validate")
		check.Env = []string{}
		for name, value := range env {
			switch {
			case name == "PROJECTORD_CONFIG":
				value = config
			case strings.HasSuffix(name, "_FILE"):
				value = file
			}
			check.Env = append(check.Env, name+"="+value)
		}
		out, err := check.CombinedOutput()
		return string(out), err
	}
	for name, env := range map[string]environment{
		"compose": readCompose(t).Services["projectord"].Environment, "kubernetes": decode(t).environment(), "systemd": unitEnvironment(options(t)),
	} {
		if out, err := validate(env); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		env["PROJECTORD_DRAIN_TIMEOUT"] = "20"
		if out, err := validate(env); err == nil || !strings.Contains(out, "PROJECTORD_DRAIN_TIMEOUT") {
			t.Errorf("%s: a time without a unit passes: %v: %s", name, err, out)
		}
	}
}
