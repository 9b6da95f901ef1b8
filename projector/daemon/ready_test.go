package daemon

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// ends returns an error unless a run of the program ends with a code and says something.
func (f *fixture) ends(code int, says string, args ...string) func() error {
	return func() error {
		if r := f.call(args...); r.code != code || !strings.Contains(r.out+r.err, says) {
			return fmt.Errorf("%s: code %d, want %d and %q: %s%s", strings.Join(args, " "), r.code, code, says, r.out, r.err)
		}
		return nil
	}
}

// Ready says of a worker what /readyz does: also that Postgres is away, which status does not
// take for an error.
func TestReady(t *testing.T) {
	t.Parallel()
	server := testenv.StartPostgres(t)
	f := bare(t, bothApp()).with(env("postgres-url") + "=" + server.URL())
	f.store()
	d := f.serve("--deadline", "1s").ready()
	ask := []string{"ready", "--http", strings.TrimPrefix(d.url, "http://")}
	f.want(exitDone, ask, "the worker is ready")
	server.Kill()
	f.append("cart-1", "tea", 1)
	testenv.Wait(t, waitLong, f.ends(exitWrong, "paused items@1: it rests since", ask...))
	f.wantValue(false, exitWrong, strings.Join(ask, " "), "ready")
	d.gives("GET", "/readyz", "", http.StatusServiceUnavailable)
	server.Restart()
	testenv.Wait(t, waitLong, f.ends(exitDone, "ready", ask...))
}

// Whoever listens on all addresses is asked at the loopback, with no token.
func TestReadyOfAllAddresses(t *testing.T) {
	t.Parallel()
	f := shop(t).with(env("http-token") + "=" + strings.Repeat("t", 32))
	d := f.serve("--http", ":0").ready()
	_, port, _ := strings.Cut(strings.TrimPrefix(d.url, "http://[::]"), ":")
	f.want(exitDone, words("ready --http :"+port), "the worker is ready")
}

func TestReadyOfNobody(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitFailed, words("ready --http 127.0.0.1:1"), "no worker answers at 127.0.0.1:1 (--http)")
	f.want(exitUsage, words("ready"), "off is no address that can be asked")
	f.want(exitUsage, words("ready --http 127.0.0.1:0"), "no address that can be asked")
}
