package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

const unitFile = "systemd/projectord.service"

// options returns the options of the unit's sections: values by "Section.Name".
func options(t *testing.T) map[string][]string {
	t.Helper()
	all, err := unit.DeserializeOptions(bytes.NewReader(read(t, unitFile)))
	if err != nil {
		t.Fatal(err)
	}
	by := make(map[string][]string)
	for _, o := range all {
		by[o.Section+"."+o.Name] = append(by[o.Section+"."+o.Name], o.Value)
	}
	return by
}

// unitEnvironment is what the unit's program is started with.
func unitEnvironment(options map[string][]string) environment {
	env := make(environment)
	for _, v := range options["Service.Environment"] {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return env
}

func TestSystemd(t *testing.T) {
	o := options(t)
	for name, want := range map[string]string{
		"Service.Type": "notify", "Service.NotifyAccess": "main", "Service.ExecStart": "/usr/local/bin/projectord run",
		"Service.Restart": "on-failure", "Service.KillSignal": "SIGTERM",
		"Service.DynamicUser": "yes", "Service.NoNewPrivileges": "yes", "Service.ProtectSystem": "strict", "Service.ProtectHome": "yes",
		"Service.PrivateDevices": "yes", "Service.CapabilityBoundingSet": "", "Install.WantedBy": "multi-user.target",
	} {
		if got := o[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// A Go program that is sent SIGABRT by the watchdog, or panics, ends with 2.
	if not := o["Service.RestartPreventExitStatus"]; not != nil {
		t.Errorf("it is not started again after codes %q", not)
	}
	env := unitEnvironment(o)
	if at := env["PROJECTORD_HTTP"]; at != "127.0.0.1:7070" {
		t.Errorf("it answers HTTP at %q: the default would give way where the port is taken", at)
	}
	stop, err := time.ParseDuration(o["Service.TimeoutStopSec"][0])
	if err != nil {
		t.Fatal(err)
	}
	wantGrace(t, "TimeoutStopSec", stop, env.check(t))
	if watchdog, err := time.ParseDuration(o["Service.WatchdogSec"][0]); err != nil || watchdog < 10*time.Second {
		t.Errorf("WatchdogSec is %s (%v)", watchdog, err)
	}

	var loaded, used []string
	for _, c := range o["Service.LoadCredential"] {
		name, path, _ := strings.Cut(c, ":")
		if !filepath.IsAbs(path) {
			t.Errorf("the credential %s comes from %q", name, path)
		}
		loaded = append(loaded, "%d/"+name)
	}
	for name, value := range env {
		if strings.HasSuffix(name, "_FILE") {
			used = append(used, value)
		}
	}
	slices.Sort(loaded)
	slices.Sort(used)
	if !slices.Equal(loaded, used) {
		t.Errorf("the credentials are %v, the variables name %v", loaded, used)
	}
}

// systemd itself knows every option of the unit.
func TestSystemdVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	// It wants the program to be there.
	text := bytes.ReplaceAll(read(t, unitFile), []byte("/usr/local/bin/projectord"), []byte("/bin/true"))
	path := filepath.Join(t.TempDir(), "projectord.service")
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), "projectord.service:") {
		t.Errorf("%v: %s", err, out)
	}
}
