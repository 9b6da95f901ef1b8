package daemon

import "testing"

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
