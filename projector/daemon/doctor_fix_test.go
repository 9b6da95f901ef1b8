package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// byShell runs a command that doctor prints, by a shell as somebody would who copies it,
// and answers yes to what it asks. It has to succeed. The name of the program stands for
// this one.
func (f *fixture) byShell(command string) {
	f.Helper()
	self, err := os.Executable()
	if err != nil {
		f.Fatal(err)
	}
	cmd := exec.CommandContext(f.Context(), "/bin/sh", "-ec", "shop() { \"$SELF\" \"$@\"; }\n"+command)
	cmd.Env = append(append(os.Environ(), "SELF="+self, asProgram+"=1"), f.environ...)
	cmd.Stdin = strings.NewReader("yes\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		f.Errorf("%s: %v\n%s", command, err, out)
	}
}

// fixOf returns the fix of a finding of a check, whose evidence holds that.
func (f *fixture) fixOf(check, evidence string) string {
	f.Helper()
	v, r := f.diagnosis()
	for _, found := range v.Findings {
		if found.Check == check && strings.Contains(found.Evidence, evidence) {
			return found.Fix
		}
	}
	f.Fatalf("%s does not find %q:\n%s%s", check, evidence, r.out, r.err)
	return ""
}

// cured returns an error while a check finds anything with that in its evidence.
func (f *fixture) cured(check, evidence string) error {
	v, _ := f.diagnosis()
	for _, found := range v.Findings {
		if found.Check == check && strings.Contains(found.Evidence, evidence) {
			return fmt.Errorf("%s still finds %s: %s", check, evidence, found.Finding)
		}
	}
	return nil
}

// from returns a text from a word on, to the end of the line.
func from(t *testing.T, text, word string) string {
	t.Helper()
	i := strings.Index(text, word)
	if i < 0 {
		t.Fatalf("there is no %q in %q", word, text)
	}
	line, _, _ := strings.Cut(text[i:], "\n")
	return line
}

// What doctor prints works as it stands, and the finding is gone afterwards.
func TestDoctorFixes(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Skip(err)
	}
	for name, c := range map[string]struct {
		setUp                 func(t *testing.T) *fixture
		check, evidence, word string
	}{
		"Parked": {func(t *testing.T) *fixture { return worked(t, true) }, "parked", "cart-2 at version 2", "shop parked skip"},
		"ConfigForbidden": {func(t *testing.T) *fixture {
			f, server := onServer(t)
			f.do("acl", "setuser", "ann", "on", ">opensesame", "~*", "&*", "+@all", "-config")
			return f.with(env("redis-url") + "=redis://ann:opensesame@" + server.Addr())
		}, "config", "NOPERM", "redis-cli"},
		"Eviction": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--maxmemory-policy", "allkeys-lru")
			return f
		}, "eviction", "allkeys-lru", "redis-cli"},
		"Memory": {func(t *testing.T) *fixture {
			f, _ := onServer(t)
			f.fill(120)
			return f
		}, "memory", "used_memory = ", "redis-cli"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := c.setUp(t)
			f.byShell(from(t, f.fixOf(c.check, c.evidence), c.word))
			if c.check == "parked" {
				// A worker goes on behind what is skipped.
				f.work(func() error { return f.cured(c.check, c.evidence) })
			}
			v, r := f.diagnosis()
			for _, found := range v.Findings {
				if found.Check == c.check && found.Severity == isError || found.Check == "config" {
					t.Errorf("it is still found: %s%s", r.out, r.err)
				}
			}
		})
	}
}

// A master that never comes back is forgotten, and its slots served again, by what doctor
// prints. It says that what was in them is lost.
func TestDoctorFixesCluster(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Skip(err)
	}
	cluster := testenv.ClusterAOF(t)
	lost := cluster.Nodes[2]
	f := bare(t, shopApp(1)).with(env("redis-url") + "=redis+cluster://" + cluster.Nodes[0].Addr())
	lost.Kill()
	testenv.Wait(t, waitLong, func() error {
		v, r := f.diagnosis()
		if !(symptom{"cluster", isError, "flags = master,fail, slots = ", ""}).in(v.Findings) {
			return errors.New(r.out + r.err)
		}
		return nil
	})
	fix := f.fixOf("cluster", "flags = master,fail, ")
	if !strings.Contains(fix, "are lost") {
		t.Errorf("it does not say what is lost: %s", fix)
	}
	for line := range strings.Lines(fix) {
		if strings.HasPrefix(line, "redis-cli") {
			f.byShell(line)
		}
	}
	testenv.Wait(t, waitLong, func() error {
		for _, node := range cluster.Nodes[:2] {
			text, err := node.Client(t).ClusterInfo(context.WithoutCancel(t.Context())).Result()
			if of := parseInfo(text); err != nil || of["cluster_state"] != "ok" || of.number("cluster_known_nodes") != 2 {
				return fmt.Errorf("node %s: %v %s", node.Addr(), err, text)
			}
		}
		return both(func() error { return f.cured("cluster", "fail") }, func() error { return f.cured("cluster", "cluster_state") })()
	})
}
