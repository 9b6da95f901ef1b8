package daemon

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// inBoth is the program with read models in both servers, as a process.
const inBoth = "both"

func bothApp() App {
	events := shopEvents()
	return App{
		Name: "shop", Events: events,
		Projections: []Projection{
			Keep(carts(1, events), InHashes("cart:current")),
			Keep(items(events), InRows(pgsink.Column{Name: "qty", Kind: projector.Int})),
		},
	}
}

// canaries are secrets that are looked for wherever the program leaves something. None has
// a character that is written otherwise in a URL or in JSON, and each begins in its own way,
// so that it is known whose got out.
var canaries = map[string]string{
	"redis-password":    "canary0redis0c4e1bb",
	"postgres-password": "canary1postgres97f2",
	"http-token":        "canary2token5ad0e38",
}

// kept fails the test where a text holds a canary.
func kept(t *testing.T, where, text string) {
	t.Helper()
	for name, canary := range canaries {
		if i := strings.Index(text, canary); i >= 0 {
			t.Errorf("%s tells the %s: …%.200s", where, name, text[max(0, i-100):])
		}
	}
}

// canaryFixture is a shop whose secrets are in files. Its Redis asks for the password.
func canaryFixture(t *testing.T) (*fixture, *testenv.RedisServer) {
	server := testenv.StartRedis(t, "--requirepass", canaries["redis-password"])
	f := &fixture{T: t, app: bothApp(), namespace: testenv.Namespace(t)}
	postgres, err := url.Parse(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	postgres.User = url.User(postgres.User.Username()) // the password has a setting of its own
	f.environ = []string{
		env("redis-url") + "=redis://" + server.Addr(), env("postgres-url") + "=" + postgres.String(),
		env("namespace") + "=" + f.namespace, env("http") + "=127.0.0.1:0", env("http-pprof") + "=true", env("log-level") + "=debug",
	}
	for name, canary := range canaries {
		f.environ = append(f.environ, env(name+fileSuffix)+"="+written(t, name, canary+"\n"))
	}
	return f, server
}

// argumentsOf are what commands need to get somewhere; the rest is called bare.
var argumentsOf = map[string]string{
	"streams append": "cart-1 --type added", "streams show": "cart-1", "streams tail": "cart-1",
	"projections show": "carts", "projections pause": "carts", "projections resume": "carts", "projections rebuild": "carts",
	"projections verify": "items --fold", "projections heal": "carts cart-1", "projections promote": "items --yes", "projections rollback": "carts --yes",
	"projections retire": "items --generation 1 --yes", "parked show": "carts cart-1", "parked retry": "carts cart-1",
	"parked skip": "carts cart-1 --version 1 --reason x --by y --yes", "workers drain": "--all", "wait": "items cart-1 1 --timeout 1s",
	"get": "items tea", "snapshots verify": "--snapshots postgres", "snapshots drop": "carts --snapshots postgres --yes",
	"retention apply": "--yes", "audit": "--heal", "completion": "bash",
}

// leaves returns the commands that do something, as they are called.
func leaves(cmd *cobra.Command, path string) (all []string) {
	for _, below := range cmd.Commands() {
		all = append(all, leaves(below, strings.TrimSpace(path+" "+below.Name()))...)
	}
	if all == nil {
		all = []string{path}
	}
	return all
}

// Secrets that are given by files are told by nothing that any command prints, whether the
// servers are there, refuse the password, or are away.
func TestCanaryOfCommands(t *testing.T) {
	t.Parallel()
	f, server := canaryFixture(t)
	other := testenv.StartRedis(t, "--requirepass", "something else")
	all := leaves((&program{app: f.app}).newRoot(), "")
	if len(all) < 30 {
		t.Fatalf("there are no more commands than %v", all)
	}
	for name, with := range map[string]*fixture{
		"in order":           f,
		"wrong password":     f.with(env("redis-url") + "=redis://" + other.Addr()),
		"no Redis":           f.with(env("redis-url") + "=redis://127.0.0.1:1"),
		"no Postgres":        f.with(env("postgres-url") + "=postgres://ann@127.0.0.1:1/shop?sslmode=disable"),
		"no such database":   f.with(env("postgres-url") + "=" + strings.Replace(f.variable("postgres-url"), "/t", "/no_such_t", 1)),
		"URL from a file":    f.with(env("redis-url")+"=", env("redis-url"+fileSuffix)+"="+written(t, "url", server.URL())),
		"bad URL":            f.with(env("redis-url")+"=", env("redis-url"+fileSuffix)+"="+written(t, "bad", "redis://:"+canaries["redis-password"]+"@h:port")),
		"bad URL (Postgres)": f.with(env("postgres-url")+"=", env("postgres-url"+fileSuffix)+"="+written(t, "worse", "postgres://u:"+canaries["postgres-password"]+"@h:port/d")),
	} {
		for _, command := range all {
			within := 20 * time.Second
			if slices.Contains([]string{"run", "dev", "streams tail"}, command) {
				within = 300 * time.Millisecond // they would go on
			}
			for _, form := range []string{"table", "json"} {
				ctx, cancel := context.WithTimeout(t.Context(), within)
				r := with.callUntil(ctx, append(words(command+" "+argumentsOf[command]), "-o", form, "--log-level", "debug")...)
				cancel()
				kept(t, name+": "+command, r.out+r.err)
			}
		}
	}
}

// variable returns the value of a setting's variable.
func (f *fixture) variable(name string) string {
	for _, v := range f.environ {
		if text, found := strings.CutPrefix(v, env(name)+"="); found {
			return text
		}
	}
	return ""
}

// proc returns what /proc says of a process.
func proc(t *testing.T, pid int, file string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if os.IsNotExist(err) {
		t.Skip("this system has no /proc")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fetch returns what is answered, its header included, as far as it comes soon.
func fetch(t *testing.T, method, address, token string) string {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	answer, err := client.Do(r)
	if err != nil {
		return err.Error() // such as that of events, which do not end
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return fmt.Sprint(answer.Status, answer.Header, string(text))
}

// Secrets that are given by files are told by nothing that a daemon leaves behind: its
// arguments and environment, its log, and what it answers by HTTP, whether it works or a
// server has gone.
func TestCanaryOfADaemon(t *testing.T) {
	t.Parallel()
	f, server := canaryFixture(t)
	p := f.startAs(inBoth, words("run --ttl 1s --connect-timeout 300ms --drain-timeout 1s")...)
	p.saying("has a session")
	for _, file := range []string{"cmdline", "environ"} {
		text := proc(t, p.cmd.Process.Pid, file)
		if !strings.Contains(text, "run") && !strings.Contains(text, env("namespace")) {
			t.Errorf("%s says %q", file, text)
		}
		kept(t, file, text)
	}
	f.call(words("streams append cart-1 --type added")...)
	address := "http://" + answering.FindStringSubmatch(p.log.String())[1]
	ask := func(when string) {
		for _, r := range unserved(t, new(transcript)).routes {
			path := strings.NewReplacer("{stream}", "cart-1", "{projection}", "carts", "{name}", "carts", "{id}", "1", "{profile...}", "goroutine?debug=2").Replace(r.pattern)
			for _, token := range []string{"", "wrong", canaries["http-token"]} {
				kept(t, when+": "+r.method+" "+path, fetch(t, r.method, address+path, token))
			}
		}
	}
	ask("in order")
	if answer := fetch(t, "GET", address+"/metrics", canaries["http-token"]); !strings.Contains(answer, "projectord_build_info") {
		t.Errorf("the token opens nothing: %.200s", answer)
	}
	server.Kill()
	p.saying("pauses")
	ask("without Redis")
	p.signal(syscall.SIGTERM)
	<-p.ended
	kept(t, "the log", p.log.String())
	if log := p.log.String(); !strings.Contains(log, "DEBUG") {
		t.Errorf("it did not log all: %s", log)
	}
}

// What is given by a URL among the arguments, or in the environment, shows there: the tests
// above would find it.
func TestCanaryShows(t *testing.T) {
	t.Parallel()
	f, server := canaryFixture(t)
	shows := func(file string, p *process) {
		t.Helper()
		p.saying("has a session")
		if text := proc(t, p.cmd.Process.Pid, file); !strings.Contains(text, canaries["redis-password"]) {
			t.Errorf("%s does not show what it was given: %q", file, text)
		}
	}
	shows("cmdline", f.start("run", "--redis-url", server.URL()))
	shows("environ", f.with(env("redis-url")+"="+server.URL()).start("run"))
	if slices.Contains(slices.Collect(maps.Values(canaries)), "") {
		t.Error("there is no canary")
	}
}
