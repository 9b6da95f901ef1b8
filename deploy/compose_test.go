package deploy

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// compose is as much of the format as the file uses; anything else is an error.
type compose struct {
	Name     string
	Services map[string]service
	Secrets  map[string]struct{ File string }
	Volumes  map[string]any
}

type service struct {
	Image string
	Build *struct {
		Context, Dockerfile string
		Args                map[string]string
	}
	Command, Secrets, Volumes, Ports []string
	Environment                      environment
	Healthcheck                      *healthcheck
	StopGracePeriod                  string `json:"stop_grace_period"`
	DependsOn                        map[string]struct {
		Condition string
	} `json:"depends_on"`
	ReadOnly    bool `json:"read_only"`
	User        string
	CapDrop     []string `json:"cap_drop"`
	SecurityOpt []string `json:"security_opt"`
	Restart     string
}

type healthcheck struct {
	Test              []string
	Interval, Timeout string
	Retries           int
	StartPeriod       string `json:"start_period"`
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.UnmarshalStrict(read(t, "compose.yaml"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompose(t *testing.T) {
	c := readCompose(t)
	daemon := c.Services["projectord"]
	drain := daemon.Environment.check(t)
	grace, err := time.ParseDuration(daemon.StopGracePeriod)
	if err != nil {
		t.Fatal(err)
	}
	wantGrace(t, "stop_grace_period", grace, drain)
	if daemon.User != fmt.Sprintf("%d:%[1]d", uid) || !daemon.ReadOnly || len(daemon.CapDrop) != 1 || daemon.CapDrop[0] != "ALL" {
		t.Errorf("it runs as %q, read-only %t, without %v", daemon.User, daemon.ReadOnly, daemon.CapDrop)
	}
	if found, _ := filepath.Glob(filepath.Join("..", daemon.Build.Args["PACKAGE"], "*.go")); found == nil || daemon.Build.Dockerfile != "deploy/Dockerfile" {
		t.Errorf("it is built as %+v", daemon.Build)
	}
	for _, port := range daemon.Ports {
		if !strings.HasPrefix(port, "127.0.0.1:") || !strings.HasSuffix(port, daemon.Environment["PROJECTORD_HTTP"]) {
			t.Errorf("the port %s is open to the network, or not that of the server", port)
		}
	}
	// Of all commands it alone ends with an error while the worker rests, for Postgres too.
	if check := daemon.Healthcheck.Test; len(check) < 3 || check[2] != "ready" {
		t.Errorf("it is taken for healthy by %q", check)
	}
	for _, on := range []string{"redis", "postgres"} {
		if daemon.DependsOn[on].Condition != "service_healthy" {
			t.Errorf("it does not wait for %s", on)
		}
		for _, name := range []string{"PROJECTORD_REDIS_URL", "PROJECTORD_POSTGRES_URL"} {
			if host := "@" + on + ":"; strings.HasPrefix(name, "PROJECTORD_"+strings.ToUpper(on)) && !strings.Contains(strings.Replace(daemon.Environment[name], "//", "@", 1), host) {
				t.Errorf("%s is %s", name, daemon.Environment[name])
			}
		}
	}

	unused := maps.Clone(c.Secrets)
	for name, s := range c.Services {
		if s.Healthcheck == nil || len(s.Healthcheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		for _, secret := range s.Secrets {
			if _, there := c.Secrets[secret]; !there {
				t.Errorf("%s has the secret %s, which there is not", name, secret)
			}
			delete(unused, secret)
		}
		for variable, path := range s.Environment {
			if strings.HasSuffix(variable, "_FILE") && !hasSecret(s, path) {
				t.Errorf("%s: %s is %s, which is none of its secrets", name, variable, path)
			}
			if strings.HasSuffix(variable, "PASSWORD") || strings.HasSuffix(variable, "TOKEN") {
				t.Errorf("%s: %s is a secret in the file", name, variable)
			}
		}
	}
	for name := range unused {
		t.Errorf("nobody has the secret %s", name)
	}
}

func hasSecret(s service, path string) bool {
	for _, secret := range s.Secrets {
		if path == "/run/secrets/"+secret {
			return true
		}
	}
	return false
}

// The Redis of the compose file loses nothing that it acknowledged.
func TestComposeRedis(t *testing.T) {
	command := strings.Join(readCompose(t).Services["redis"].Command, " ")
	for _, want := range []string{"appendonly yes", "appendfsync always", "maxmemory-policy noeviction", "stream-node-max-bytes 1024", "requirepass $$(cat /run/secrets/redis)"} {
		if !strings.Contains(command, want) {
			t.Errorf("the Redis lacks %s", want)
		}
	}
	if len(readCompose(t).Services["redis"].Volumes) == 0 {
		t.Error("the Redis has no volume")
	}
}
