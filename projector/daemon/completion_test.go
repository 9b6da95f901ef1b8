package daemon

import (
	"net"
	"testing"
	"time"
)

// The rest is asked of the servers, quickly or not at all.
func TestCompletionAsks(t *testing.T) {
	t.Parallel()
	worked := worked(t, true)
	without := worked.as(App{Name: "projectord"})
	complete := func(f *fixture, want string, line ...string) {
		t.Helper()
		if got := f.want(exitDone, append([]string{"__complete"}, line...)); got != want+":4\n" {
			t.Errorf("%q is completed by\n%swant\n%s", line, got, want)
		}
	}
	complete(without, "carts\nitems\n", "projections", "show", "")
	complete(without, "items\n", "projections", "show", "it")
	complete(worked, "cart-2\n", "parked", "show", "carts", "")
	complete(worked, "", "parked", "show", "items", "")
	complete(worked, "cart-1\ncart-2\n", "wait", "carts", "cart-")
	complete(worked, "cart-2\n", "streams", "show", "cart-2")
	complete(worked, "cart-1\ncart-2\n", "streams", "tail", "c")
	complete(worked, "", "get", "carts", "")
	complete(worked, "", "streams", "show", "cart-1", "")
	complete(worked, "", "streams", "show", "--namespace", "elsewhere", "cart-")
	complete(worked, "", "streams", "show", "--redis-url", "redis://127.0.0.1:1", "cart-")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	began := time.Now()
	complete(worked, "", "streams", "show", "--connect-timeout", "1m", "--redis-url", "redis://"+silent.Addr().String(), "cart-")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("where the server does not answer it takes %s", took)
	}

	worked.append("cart-1", "tea", 1)
	worked.work(func() error {
		if err := worked.says("blue", "workers", "ls")(); err != nil {
			return err
		}
		complete(worked, "blue\n", "workers", "drain", "b")
		complete(worked, "blue\n", "workers", "pending", "--worker", "b")
		complete(without, "carts\nitems\n", "workers", "pending", "")
		return nil
	}, "--name", "blue", "--ttl", "1h")
}

// Completions know what can be known without a server, also where settings are wrong.
func TestCompletion(t *testing.T) {
	t.Parallel()
	f := configured(t, "PROJECTORD_TTL=x")
	for _, c := range []struct {
		line []string
		says string
	}{
		{[]string{"projections", "rebuild", ""}, "carts\nitems\n"},
		{[]string{"parked", "ls", ""}, "carts\nitems\n"},
		{[]string{"parked", "show", "carts", ""}, ":4\n"},
		{[]string{"run", "--only", ""}, "carts\nitems\n"},
		{[]string{"status", "--log-level", ""}, "debug\ninfo\nwarn\nerror\n"},
		{[]string{"status", "-o", ""}, "table\njson\nyaml\n"},
		{[]string{"par"}, "parked\t"},
	} {
		f.want(exitDone, append([]string{"__complete"}, c.line...), c.says)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		f.want(exitDone, []string{"completion", shell}, "shop")
	}
}
