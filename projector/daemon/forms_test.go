package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// The forms in which every command is tried.
const (
	asTable = "table"
	asJSON  = "json"
	asEmpty = "empty" // where there is nothing of what it is about
	asError = "error"
)

// never is a form that a command does not have, and why.
const never = -1

// try is a call of a command in one of the forms. It ends with a code and says something,
// or code is never and says is the reason.
type try struct {
	on            *fixture
	command, form string
	args          string
	code          int
	says          string
}

// said runs a command that goes on until it has said something, and ends it then.
func (f *fixture) said(text string, args ...string) result {
	f.Helper()
	ctx, stop := context.WithCancel(f.Context())
	defer stop()
	var out, errs transcript
	p := &program{app: f.app, in: strings.NewReader(f.stdin), out: &out, err: &errs, environ: f.environ}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, args) }()
	testenv.Wait(f, waitLong, func() error {
		if !strings.Contains(out.String(), text) {
			return fmt.Errorf("%v does not say %q: %s%s", args, text, out.String(), errs.String())
		}
		return nil
	})
	stop()
	return result{<-ended, out.String(), errs.String()}
}

// check tries it.
func (c try) check(t *testing.T) {
	t.Helper()
	args := append(words(c.command), words(c.args)...)
	if c.form == asJSON {
		args = append(args, "-o", "json")
	}
	call := strings.Join(args, " ")
	var r result
	if lasting := []string{"streams tail", "dev"}; slices.Contains(lasting, c.command) && c.code == exitDone {
		r = c.on.said(c.says, args...)
	} else {
		r = c.on.call(args...)
	}
	if r.code != c.code {
		t.Errorf("%s: code %d, want %d\n%s%s", call, r.code, c.code, r.out, r.err)
	}
	text := r.out
	if r.code != exitDone && c.form != asJSON {
		text += r.err
	}
	if !strings.Contains(text, c.says) {
		t.Errorf("%s does not say %q:\n%s%s", call, c.says, r.out, r.err)
	}
	if c.form == asError && r.out != "" {
		t.Errorf("%s: what is wrong is no output: %s", call, r.out)
	}
	for d := json.NewDecoder(strings.NewReader(r.out)); c.form == asJSON; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Errorf("%s: %v:\n%s", call, err, r.out)
			break
		}
	}
}

// Every command has a table, JSON, an answer where there is nothing, and errors, or a
// reason why not. A command that is new has to be tried here too.
func TestForms(t *testing.T) {
	t.Parallel()
	kept := []string{env("snapshots") + "=redis", env("snapshot-every") + "=1"}
	none := shop(t).with(kept...) // nothing has happened in it
	away := none.with(env("redis-url") + "=redis://127.0.0.1:1")
	other := none.as(App{Name: "projectord"})
	unruled := shopApp(1)
	unruled.Retention = nil
	postgres := inPostgres(t)
	fresh := devFixture(t, shopApp(1))

	full := shop(t).with(kept...) // with a snapshot and three streams that are parked
	full.grow("cart-1", "tea", long)
	for _, stream := range []string{"cart-2", "cart-3", "cart-4"} {
		full.append(stream, "mug", badQty)
	}
	full.work(both(full.says("64", "get", "carts", "1"), full.says(`"total": 3`, words("parked ls -o json")...), full.says("good: 1", words("snapshots verify -o yaml")...)))

	old := worked(t, false)
	next := old.as(shopApp(2))
	written := shop(t)
	written.append("cart-7", "tea", 1)
	written.append("cart-7", "tea", 1)
	manned := shop(t)
	manned.start(words("run --name blue --ttl 1h")...)
	manned.live(1)

	till, keys, skipped := parkedTill(t)
	again, againKeys, againSkipped := parkedTill(t)

	served := strings.TrimPrefix(shop(t).serve().ready().url, "http://")
	all := []try{
		{full, "status", asTable, "", exitDone, "PROJECTION  GENERATION"},
		{full, "status", asJSON, "", exitDone, `"generations": [`},
		{none, "status", asEmpty, "", exitDone, "no projection has run yet"},
		{away, "status", asError, "", exitUnavailable, "is the server running"},

		{full, "streams ls", asTable, "", exitDone, "cart-1  64"},
		{full, "streams ls", asJSON, "", exitDone, `"stream": "cart-1"`},
		{none, "streams ls", asEmpty, "", exitDone, "there are no streams"},
		{full, "streams ls", asError, "NoCategory", exitUsage, "invalid stream"},
		{full, "streams show", asTable, "cart-2", exitDone, "cart-2@1  added, schema 1"},
		{full, "streams show", asJSON, "cart-2", exitDone, `"item": "mug"`},
		{full, "streams show", asEmpty, "cart-2 --from 9", exitDone, "none of those asked for"},
		{none, "streams show", asError, "cart-2", exitAbsent, "there is no stream cart-2"},
		{away, "streams show", asError, "cart-2 --limt 1", exitUsage, "unknown flag: --limt, do you mean --limit?"},
		{away, "streams show", asError, "cart-2 --nonsense", exitUsage, "shop streams show -h tells how it is used"},
		{full, "streams tail", asTable, "cart-2", exitDone, "cart-2@1  added, schema 1"},
		{full, "streams tail", asJSON, "cart-2", exitDone, `"version":1`},
		{nil, "streams tail", asEmpty, "", never, "it prints nothing, and waits for the first event"},
		{away, "streams tail", asError, "cart", exitUsage, "invalid stream"},
		{written, "streams append", asTable, "cart-8 --type added", exitDone, "cart-8@1"},
		{written, "streams append", asJSON, "cart-8 --type added", exitDone, `"version": 2`},
		{bare(t, shopApp(1)), "streams append", asEmpty, "cart-8 --type added", exitDone, "cart-8@1"},
		{written, "streams append", asError, "cart-8 --type added --expect 7", exitFailed, "conflict on cart-8"},
		{written, "streams delete", asTable, "cart-8 --reason r --yes", exitDone, "cart-8 is deleted"},
		{written, "streams delete", asJSON, "cart-8 --reason r --yes", exitDone, `"message": "nothing to do`},
		{none, "streams delete", asEmpty, "cart-9 --reason r", exitAbsent, "there is no stream cart-9"},
		{written, "streams delete", asError, "cart-7", exitUsage, "--reason is missing"},
		{written, "streams truncate", asTable, "cart-7 --before 2 --force --reason r --by ann --yes", exitDone, "1 event of cart-7 removed"},
		{written, "streams truncate", asJSON, "cart-7 --before 2 --force --reason r --by ann --yes", exitDone, `"removed": 0`},
		{none, "streams truncate", asEmpty, "cart-9 --before 2", exitAbsent, "there is no stream cart-9"},
		{written, "streams truncate", asError, "cart-7", exitUsage, "--before is missing"},

		{full, "projections ls", asTable, "", exitDone, "carts"},
		{full, "projections ls", asJSON, "", exitDone, `"carts"`},
		{other, "projections ls", asEmpty, "", exitDone, "no projection"},
		{away, "projections ls", asError, "", exitUnavailable, "is the server running"},
		{full, "projections show", asTable, "carts", exitDone, "carts"},
		{full, "projections show", asJSON, "carts", exitDone, `"generation": 1`},
		{none, "projections show", asEmpty, "carts", exitAbsent, "carts has not run"},
		{full, "projections show", asError, "orders", exitAbsent, "only carts or items"},
		{old, "projections pause", asEmpty, "carts", exitAbsent, "no generation of carts is being built"},
		{old, "projections resume", asEmpty, "carts", exitAbsent, "no generation of carts is paused, or failed"},
		{old, "projections verify", asEmpty, "carts", exitAbsent, "no generation that is built beside 1"},
		{old, "projections promote", asEmpty, "carts", exitAbsent, "no generation that is built and newer than 1"},
		{old, "projections rollback", asEmpty, "carts", exitAbsent, "there is none to go back to"},
		{next, "projections rebuild", asTable, "carts", exitDone, "generation 2 of carts is being built"},
		{next, "projections rebuild", asJSON, "carts", exitDone, `"generation": 2`},
		{none, "projections rebuild", asEmpty, "carts", exitAbsent, "carts has not run"},
		{next, "projections rebuild", asError, "carts --rate -1", exitUsage, "--rate"},
		{next, "projections pause", asTable, "carts", exitDone, "generation 2 of carts is paused"},
		{next, "projections resume", asTable, "carts", exitDone, "is being built again"},
		{next, "projections pause", asJSON, "carts", exitDone, `"generation": 2`},
		{next, "projections resume", asJSON, "carts", exitDone, `"generation": 2`},
		{next, "projections pause", asError, "orders", exitAbsent, "there is no projection orders"},
		{next, "projections resume", asError, "carts --generation -1", exitUsage, "--generation is 1 or more"},
		{old, "projections heal", asTable, "carts cart-1", exitDone, "cart-1 in generation 1 of carts is what its 2 events come to"},
		{old, "projections heal", asJSON, "carts cart-1", exitDone, `"version": 2`},
		{old, "projections heal", asEmpty, "carts cart-9", exitAbsent, "there is no stream cart-9"},
		{old, "projections heal", asError, "items cart-1", exitUsage, "streams share the rows of items"},
		{old, "projections verify", asTable, "items --fold", exitDone, "0 differ"},
		{old, "projections verify", asJSON, "items --fold", exitDone, `"differences": []`},
		{old, "projections verify", asError, "carts --share 0", exitUsage, "--share"},
		{next, "projections retire", asEmpty, "carts --generation 7", exitAbsent, "carts has no generation 7"},
		{away, "projections retire", asError, "carts", exitUsage, "--generation is missing"},

		{full, "parked ls", asTable, "", exitDone, "thirteen of it"},
		{full, "parked ls", asJSON, "", exitDone, `"total": 3`},
		{none, "parked ls", asEmpty, "", exitDone, "nothing is parked"},
		{full, "parked ls", asError, "orders", exitAbsent, "there is no projection orders"},
		{full, "parked show", asTable, "carts cart-2", exitDone, "cart-2 is parked in generation 1"},
		{full, "parked show", asJSON, "carts cart-2", exitDone, `"qty": 13`},
		{full, "parked show", asEmpty, "carts cart-1", exitAbsent, "cart-1 is not parked"},
		{full, "parked show", asError, "carts cart-2 --generation -1", exitUsage, "--generation is 1 or more"},
		{full, "parked skip", asTable, "carts cart-2 --version 1 --reason r --by ann --yes", exitDone, "carts leaves out version 1 of cart-2"},
		{full, "parked skip", asJSON, "carts cart-3 --version 1 --reason r --by ann --yes", exitDone, `"stream": "cart-3"`},
		{full, "parked skip", asEmpty, "carts cart-1 --version 1 --reason r --by ann --yes", exitAbsent, "cart-1 is not parked"},
		{full, "parked skip", asError, "carts cart-4 --reason r", exitUsage, "--version is missing"},
		{full, "parked retry", asTable, "carts cart-4", exitDone, "1 stream of carts retried"},
		{full, "parked retry", asJSON, "carts --all", exitDone, `"retried": 0`},
		{full, "parked retry", asEmpty, "carts cart-1", exitAbsent, "cart-1 is not parked"},
		{full, "parked retry", asError, "carts", exitUsage, "name one STREAM"},

		{till, "adopted ls", asTable, "", exitDone, "SOURCE  KEY"},
		{till, "adopted ls", asJSON, "till", exitDone, `"state": "parked"`},
		{none, "adopted ls", asEmpty, "", exitDone, "nothing is adopted"},
		{till, "adopted ls", asError, "tills", exitAbsent, "only till"},
		{till, "adopted retry", asTable, "till " + keys[0], exitDone, "is tried again"},
		{till, "adopted retry", asEmpty, "till " + keys[0], exitAbsent, "is not parked in source till"},
		{till, "adopted retry", asError, "till", exitUsage, "KEY is missing"},
		{till, "adopted skip", asEmpty, "till " + keys[0] + " 1-1 --reason r --by ann --yes", exitAbsent, "not parked"},
		{till, "adopted skip", asError, "till " + skipped, exitUnconfirmed, "would leave out entry"},
		{till, "adopted skip", asTable, "till " + skipped + " --yes", exitDone, "leaves out entry"},
		{again, "adopted retry", asJSON, "till " + againKeys[0], exitDone, `"message"`},
		{again, "adopted skip", asJSON, "till " + againSkipped + " --yes", exitDone, `"message"`},

		{manned, "workers ls", asTable, "", exitDone, "blue    live"},
		{manned, "workers ls", asJSON, "", exitDone, `"worker": "blue"`},
		{none, "workers ls", asEmpty, "", exitDone, "no worker runs"},
		{away, "workers ls", asError, "", exitUnavailable, "is the server running"},
		{manned, "workers pending", asTable, "", exitDone, "nothing is pending"},
		{manned, "workers pending", asJSON, "carts --worker blue", exitDone, `"pending": []`},
		{none, "workers pending", asEmpty, "", exitDone, "nothing is pending"},
		{none, "workers pending", asError, "--limit -1", exitUsage, "--limit"},
		{away, "workers pending", asError, "", exitUnavailable, "is the server running"},
		{full, "logs", asTable, "", exitDone, "GROUP"},
		{full, "logs", asJSON, "--each", exitDone, `"undelivered": `},
		{none, "logs", asEmpty, "", exitDone, "nobody has read them yet"},
		{away, "logs", asError, "", exitUnavailable, "is the server running"},
		{manned, "workers drain", asJSON, "blue", exitDone, `"worker": "blue"`},
		{manned, "workers drain", asTable, "--all --wait", exitDone, ""}, // it may have ended before
		{none, "workers drain", asEmpty, "--all", exitDone, "no worker runs"},
		{none, "workers drain", asError, "", exitUsage, "WORKER is missing"},

		{old, "wait", asTable, "carts cart-1 2", exitDone, "carts shows version 2 of cart-1"},
		{old, "wait", asJSON, "carts cart-1 2", exitDone, `"version": 2`},
		{old, "wait", asEmpty, "carts cart-9 1 --timeout 20ms", exitLate, "carts does not show version 1 of cart-9"},
		{away, "wait", asError, "carts cart-1 x", exitUsage, "VERSION is a number"},
		{old, "get", asTable, "carts 1", exitDone, "FIELD  VALUE"},
		{old, "get", asJSON, "carts 1", exitDone, `"tea": "2"`},
		{old, "get", asEmpty, "carts 9", exitAbsent, "there is no 9 in generation 1 of carts"},
		{old, "get", asError, "carts", exitUsage, "ID is missing"},
		{old, "audit", asTable, "", exitDone, "PROJECTION  STREAMS"},
		{old, "audit", asJSON, "carts", exitDone, `"findings": []`},
		{none, "audit", asEmpty, "", exitDone, "no projection has run yet"},
		{old, "audit", asError, "--list -1", exitUsage, "--list"},

		{full, "snapshots ls", asTable, "", exitDone, "carts       cart-1  64"},
		{full, "snapshots ls", asJSON, "", exitDone, `"stream": "cart-1"`},
		{none, "snapshots ls", asEmpty, "", exitDone, "there are no snapshots"},
		{full, "snapshots ls", asError, "--limit -1", exitUsage, "--limit"},
		{full, "snapshots verify", asTable, "", exitDone, "carts       1          1"},
		{full, "snapshots verify", asJSON, "", exitDone, `"good": 1`},
		{none, "snapshots verify", asEmpty, "", exitDone, "carts       0          0"},
		{full, "snapshots verify", asError, "items", exitUsage, "items has no states"},
		{full, "snapshots drop", asError, "carts", exitUnconfirmed, "all snapshots of carts would be deleted"},
		{full, "retention show", asTable, "", exitDone, "cart      1"},
		{full, "retention show", asJSON, "", exitDone, `"max_count": 1`},
		{none.as(unruled), "retention show", asEmpty, "", exitDone, "there are no rules"},
		{other, "retention show", asError, "", exitUsage, "projectord has none"},
		{full, "retention apply", asTable, "--yes", exitDone, "events of "},
		{full, "retention apply", asJSON, "", exitUnconfirmed, `"preview": true`},
		{none, "retention apply", asEmpty, "--yes", exitDone, "0 events of 0 streams removed"},
		{other, "retention apply", asError, "--yes", exitUsage, "projectord has none"},
		{written, "retention forced", asTable, "", exitDone, "cart-7  2"},
		{written, "retention forced", asJSON, "", exitDone, `"stream": "cart-7"`},
		{none, "retention forced", asEmpty, "", exitDone, "nothing was removed by force"},
		{away, "retention forced", asError, "", exitUnavailable, "is the server running"},
		{full, "snapshots drop", asTable, "carts --yes", exitDone, "1 snapshot of carts deleted"},
		{full, "snapshots drop", asJSON, "carts --yes", exitDone, `"dropped": 0`},
		{none, "snapshots drop", asEmpty, "carts --yes", exitDone, "0 snapshots of carts deleted"},

		{postgres, "migrate status", asEmpty, "", exitWrong, "00001_checkpoints.sql  missing"},
		{postgres, "migrate up", asTable, "", exitDone, "is up to date"},
		{postgres, "migrate up", asJSON, "", exitDone, `"missing": 0`},
		{postgres, "migrate up", asEmpty, "", exitDone, "is up to date"},
		{none, "migrate up", asError, "", exitUsage, "no Postgres is named"},
		{postgres, "migrate status", asTable, "", exitDone, "is up to date"},
		{postgres, "migrate status", asJSON, "", exitDone, `"missing": 0`},
		{none, "migrate status", asError, "", exitUsage, "no Postgres is named"},

		{none, "config print", asTable, "", exitDone, "SETTING"},
		{none, "config print", asJSON, "", exitDone, `"name": "redis-url"`},
		{nil, "config print", asEmpty, "", never, "all settings have values"},
		{none, "config print", asError, "--ttl x", exitUsage, "--ttl"},
		{none, "config validate", asTable, "", exitDone, "the settings can be used"},
		{none, "config validate", asJSON, "", exitDone, `"message": "the settings can be used"`},
		{nil, "config validate", asEmpty, "", never, "all settings have values"},
		{none, "config validate", asError, "--ttl x", exitUsage, "--ttl"},
		{none, "version", asTable, "", exitDone, "shop v1.2.3 ("},
		{none, "version", asJSON, "", exitDone, `"version": "v1.2.3"`},
		{nil, "version", asEmpty, "", never, "there always is one"},
		{none, "--version", asTable, "", exitDone, "shop v1.2.3 ("},
		{none, "help", asTable, "streams ls", exitDone, "Lists the streams of a category"},
		{none, "help", asError, "streams lss", exitUsage, `there is no command "shop streams lss", do you mean ls?`},
		{none, "help", asError, "nope", exitUsage, `there is no command "shop nope"`},
		{none, "version", asError, "1", exitUsage, `"1" is one argument too many`},
		{full, "doctor", asTable, "", exitWrong, "ERROR    persistence"}, // of the Redis of the tests,
		{full, "doctor", asJSON, "", exitWrong, `"check": "persistence"`},
		{bare(t, shopApp(1)), "doctor", asEmpty, "", exitWrong, "it does not exist yet"},
		{none, "doctor", asError, "carts", exitUsage, `"carts" is one argument too many`},

		{none, "ready", asTable, "--http " + served, exitDone, "the worker is ready"},
		{none, "ready", asJSON, "--http " + served, exitDone, `"ready": true`},
		{nil, "ready", asEmpty, "", never, "it is about one worker"},
		{none, "ready", asError, "--http 127.0.0.1:1", exitFailed, "no worker answers"},

		{nil, "run", asTable, "", never, "it logs, in the form of --log-format"},
		{nil, "run", asJSON, "", never, "it logs, in the form of --log-format"},
		{other, "run", asEmpty, "", exitUsage, "projectord has no projections to work on"},
		{none, "run", asError, "--only orders", exitUsage, "--only: this takes the code of orders"},
		{fresh, "dev", asTable, "", exitDone, "Projections: carts, items."},
		{fresh, "dev", asJSON, "", exitDone, `"projections": [`},
		{devFixture(t, App{Name: "projectord"}), "dev", asEmpty, "", exitUsage, "projectord has no projections to work on"},
		{fresh, "dev", asError, "--redis-url redis://127.0.0.1:1", exitUsage, "dev has a Redis of its own"},
	}
	// What takes a generation that is built is tried when it is.
	built := []try{
		{next, "projections promote", asError, "carts", exitUnconfirmed, "readers would see generation 2 of carts"},
		{next, "projections promote", asTable, "carts --yes", exitDone, "readers see generation 2 of carts"},
		{next, "projections rollback", asError, "carts", exitUnconfirmed, "readers would see generation 1 of carts again"},
		{next, "projections rollback", asTable, "carts --yes", exitDone, "readers see generation 1"},
		{next, "projections promote", asJSON, "carts --yes", exitDone, `"generation": 2`},
		{next, "projections rollback", asJSON, "carts --yes", exitDone, `"generation": 1`},
		{next, "projections retire", asTable, "carts --generation 2 --yes", exitDone, "generation 2 of carts"},
		{next, "projections rebuild", asTable, "items --again", exitDone, "generation 2 of items"},
		{next, "projections retire", asJSON, "items --generation 2 --yes", exitDone, `"generation": 2`},
	}
	for _, c := range all {
		if c.code != never {
			c.check(t)
		}
	}
	next.work(next.says("2           2        built", "status"))
	for _, c := range built {
		c.check(t)
	}
	tried := make(map[string]bool)
	for _, c := range append(all, built...) {
		tried[c.command+" as "+c.form] = true
	}
	for _, command := range leaves((&program{app: shopApp(1)}).newRoot(), "") {
		for _, form := range []string{asTable, asJSON, asEmpty, asError} {
			if !tried[command+" as "+form] {
				t.Errorf("%s is not tried as %s, and nothing says why", command, form)
			}
		}
	}
}
