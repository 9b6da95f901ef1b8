package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// The API answers with what the commands print.
func TestAPIIsTheCommands(t *testing.T) {
	t.Parallel()
	f := worked(t, true)
	d := f.serve("--ttl", "1h").ready()
	for command, path := range map[string]string{
		"streams ls":                              "streams",
		"streams ls cart --limit 1":               "streams?category=cart&limit=1",
		"streams show cart-2":                     "streams/cart-2",
		"streams show cart-2 --from 2":            "streams/cart-2?from=2",
		"streams show cart-2 --backward":          "streams/cart-2?backward=true",
		"projections ls":                          "projections",
		"projections show carts":                  "projections/carts",
		"projections show items":                  "projections/items",
		"get carts 1":                             "projections/carts/documents/1",
		"get carts 1 --generation 1":              "projections/carts/documents/1?generation=1",
		"get items tea":                           "projections/items/documents/tea",
		"wait carts cart-1 2":                     "projections/carts/wait?stream=cart-1&version=2",
		"parked ls":                               "parked",
		"parked ls carts":                         "parked?projection=carts&limit=1000",
		"parked ls items":                         "parked?projection=items",
		"parked show carts cart-2":                "parked/carts/cart-2",
		"parked show carts cart-2 --generation 1": "parked/carts/cart-2?generation=1",
		"status": "status",
	} {
		// How old something is differs between two looks at it.
		testenv.Wait(t, waitLong, func() error {
			answer, got, err := d.send(d.request("GET", "/api/v1/"+path, ""))
			if err != nil {
				return err
			}
			if err := judge(answer, got, http.StatusOK); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			want := f.want(exitDone, append(words(command), "-o", "json"))
			if steady(want) != steady(got) {
				return fmt.Errorf("%s prints %s and %s answers %s", command, want, path, got)
			}
			return nil
		})
	}
	f.append("cart-3", "tea", 1)
	testenv.Wait(t, waitLong, d.answers("GET", "/api/v1/workers", "", http.StatusOK, `"worker": "`, `"serves": [`, `"carts@1"`))
}

// steady returns JSON without what passes with the time.
func steady(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "next") && !strings.Contains(line, "oldest_seconds") {
			kept = append(kept, strings.TrimRight(line, ",\n"))
		}
	}
	return strings.Join(kept, "\n")
}

// Where there is nothing the lists are empty, and what is asked for by name is 404.
func TestAPIOfNothing(t *testing.T) {
	t.Parallel()
	d := shop(t).serve().ready()
	d.gives("GET", "/api/v1/status", "", http.StatusOK, `"unserved": []`, `"state": "built"`)
	d.gives("GET", "/api/v1/streams", "", http.StatusOK, `"streams": []`, `"total": 0`)
	d.gives("GET", "/api/v1/streams?category=order&ended=1&after=order-7", "", http.StatusOK, `"streams": []`)
	d.gives("GET", "/api/v1/parked", "", http.StatusOK, `"parked": []`, `"total": 0`)
	d.gives("HEAD", "/api/v1/status", "", http.StatusOK)
	for path, says := range map[string]string{
		"streams/cart-9":                             "there is no stream cart-9",
		"projections/orders":                         "there is no projection orders",
		"projections/carts/documents/9":              "there is no 9 in generation 1 of carts",
		"projections/carts/documents/9?generation=9": "carts has no generation 9",
		"projections/carts/wait?stream=cart-9&version=1&timeout=4m&generation=77": "carts has no generation 77",
		"projections/items/documents/tea":                                         "there is no tea",
		"parked?projection=orders":                                                "there is no projection orders",
		"parked/carts/cart-9":                                                     "cart-9 is not parked in carts",
		"parked/orders/cart-9":                                                    "there is no projection orders",
		"snapshots":                                                               "there is nothing at /api/v1/snapshots",
		"projections/orders/changes":                                              "there is no projection orders",
	} {
		d.gives("GET", "/api/v1/"+path, "", http.StatusNotFound, says, `"code": 5`)
	}
	for path, says := range map[string]string{
		"projections/carts/pause":    "no generation of carts is being built",
		"projections/carts/resume":   "no generation of carts is paused, or failed",
		"projections/carts/promote":  "no generation that is built and newer than 1",
		"projections/carts/rollback": "there is none to go back to",
		"parked/carts/cart-9/retry":  "cart-9 is not parked in carts",
		"projections/orders/rebuild": "there is no projection orders",
	} {
		d.gives("POST", "/api/v1/"+path, "", http.StatusNotFound, says, `"code": 5`)
	}
	d.gives("POST", "/api/v1/projections/carts/retire", `{"generation": 7, "confirm": true}`, http.StatusNotFound, "carts has no generation 7")
	d.gives("POST", "/api/v1/projections/carts/retire", `{"generation": 1, "confirm": true}`, http.StatusConflict, "is the one that readers see", `"code": 1`)
	d.gives("POST", "/api/v1/parked/carts/cart-9/skip", `{"version": 1, "reason": "a test", "by": "ann", "confirm": true}`, http.StatusNotFound)
	d.gives("GET", "/api/v1/projections/carts/wait?stream=cart-9&version=1&timeout=20ms", "", http.StatusGatewayTimeout, "carts does not show version 1 of cart-9 after 20ms", `"code": 7`)
}

// What is wrong with a request is said by the name it has there.
func TestAPIRefuses(t *testing.T) {
	t.Parallel()
	d := shop(t).serve().ready()
	for path, says := range map[string]string{
		"streams?limit=0":                                            "limit is a number from 1 to 1000",
		"streams?limit=1001":                                         "limit is a number from 1 to 1000",
		"streams?limit=ten":                                          `not \"ten\"`,
		"streams?limit=1&limit=2":                                    "limit is given more than once",
		"streams?limt=1":                                             `there is no parameter \"limt\": it takes limit, category, after or ended`,
		"streams?ended=perhaps":                                      "ended is true or false",
		"streams?category=NoCategory":                                "invalid stream",
		"status?watch=1":                                             "it takes none",
		"streams?limit=1;x=2":                                        "the query cannot be read: invalid semicolon",
		"streams?%zz":                                                "the query cannot be read: invalid URL escape",
		"streams/cart-1/events?form=end":                             `there is no parameter \"form\": it takes from`,
		"streams/cart-1/events?from=end&from=1":                      "from is given more than once",
		"streams/cart-1/events?from=end;x":                           "the query cannot be read",
		"projections/carts/changes?from=end":                         "it takes none",
		"streams/cart":                                               "invalid stream",
		"streams/cart-1?from=0":                                      "from is a number from 1",
		"streams/cart-1?from=-1":                                     "from is a number from 1",
		"streams/cart-1?backward=2":                                  "backward is true or false",
		"projections/carts/documents/1?generation=0":                 "generation is a number from 1",
		"projections/carts/wait":                                     "version is missing",
		"projections/carts/wait?version=1":                           "invalid stream",
		"projections/carts/wait?stream=cart-1&version=1&timeout=5":   "timeout is a time with its unit up to 5m0s",
		"projections/carts/wait?stream=cart-1&version=1&timeout=6m":  "timeout is a time with its unit up to 5m0s",
		"projections/carts/wait?stream=cart-1&version=1&timeout=-1s": "timeout is a time",
		"parked?limit=x":                                             "limit is a number",
		"parked/carts/cart-1?generation=x":                           "generation is a number",
	} {
		d.gives("GET", "/api/v1/"+path, "", http.StatusBadRequest, says, `"code": 2`)
	}
	for _, c := range []struct{ path, body, says string }{
		{"streams/cart-1/events", "", "type is missing"},
		{"streams/cart-1/events", `{"type": "added"`, "the body: unexpected EOF"},
		{"streams/cart-1/events", `{"type": "added"} {}`, "it is more than one value"},
		{"streams/cart-1/events", `[]`, "the body: it cannot be a JSON array"},
		{"streams/cart-1/events", `{"type": "added", "tpye": 1}`, `unknown field \"tpye\"`},
		{"streams/cart/events", `{"type": "added"}`, "invalid stream"},
		{"streams/cart-1/events", `{"type": "added", "expect": "some"}`, "expect is"},
		{"streams/cart-1/events", `{"type": "added", "expect": -1}`, "expect is"},
		{"streams/cart-1/events", `{"type": "added", "expect": 1.5}`, "expect is"},
		{"streams/cart-1/events", `{"type": "added", "expect": {}}`, "expect is"},
		{"streams/cart-1/events", `{"type": "added", "id": "7"}`, "id is a UUID"},
		{"streams/cart-1/events", `{"type": "added", "data": {"item": 1}}`, "would park its stream"},
		{"streams/cart-1/events", `{"type": "added", "data": {"qty": 1e999}}`, "data is no payload: the number 1e999 does not fit"},
		{"streams/cart-1/events", `{"type": "$deleted"}`, "would park"},
		{"streams/cart-1/events", `{"type": "added", "correlation": "` + strings.Repeat("x", mostID+1) + `"}`, "1000 bytes at the most"},
		{"streams/cart-1/events", `{"type": 7}`, "the body: type cannot be a JSON number"},
		{"streams/cart-1/events", "{\"type\": \"added\", \"correlation\": \"\xff\"}", "the body: it is not UTF-8"},
		{"streams/cart-1/events", `{"type": "added", "correlation": "\udc00"}`, `\\udc00 is half of a character`},
		{"streams/cart-1/events", `{"type": "added", "data": {"item": "tea", "item": "mug"}}`, `the key \"item\" is given twice`},
		{"streams/cart-1/events", `{"type": "added", "data": {"qty": 123456789012345678901234567890}}`, "more than 64 bits"},
		{"projections/carts/rebuild", `{"rate": -1}`, "rate and workers"},
		{"projections/carts/pause", `{"generation": -1}`, "--generation is 1 or more"},
		{"projections/carts/rollback", `{"timeout": "1h"}`, "timeout is a time"},
		{"projections/carts/retire", `{"confirm": true}`, "generation is missing"},
		{"projections/carts/promote", `{"confirm": "yes"}`, "the body: confirm cannot be a JSON string"},
		{"parked/carts/cart-1/retry", `{"all": true}`, "unknown field"},
		{"parked/carts/cart-1/skip", `{"reason": "a test", "by": "ann", "confirm": true}`, "version is missing"},
		{"parked/carts/cart-1/skip", `{"version": 1, "by": "ann", "confirm": true}`, "reason is missing"},
		{"parked/carts/cart-1/skip", `{"version": 1, "reason": "a test", "confirm": true}`, "by is missing"},
	} {
		d.gives("POST", "/api/v1/"+c.path, c.body, http.StatusBadRequest, c.says, `"code": 2`)
	}
	d.gives("GET", "/api/v1/streams", "", http.StatusOK, `"total": 0`) // none of these did anything
	d.gives("POST", "/api/v1/status", "{}", http.StatusMethodNotAllowed)
	d.gives("GET", "/api/v1/projections/carts/pause", "", http.StatusMethodNotAllowed)
	d.altered("POST", "/api/v1/streams/cart-1/events", `{"type": "added"}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, http.StatusUnsupportedMediaType)
	d.altered("POST", "/api/v1/streams/cart-1/events", `{"type": "added"}`, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden)
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added", "data": "`+strings.Repeat("x", maxBody)+`"}`, http.StatusRequestEntityTooLarge)
	d.gives("GET", "/api/v1/streams", "", http.StatusOK, `"total": 0`)
}

func TestAPIAppend(t *testing.T) {
	t.Parallel()
	d := shop(t).serve().ready()
	id := uuid.NewString()
	first := fmt.Sprintf(`{"type": "added", "data": {"item": "tea", "qty": 9007199254740993}, "expect": "none", "id": %q, "correlation": "r1", "causation": "r0", "extra": {"source": "till"}}`, id)
	d.gives("POST", "/api/v1/streams/cart-1/events", first, http.StatusOK, `"version": 1`, `"duplicate": false`, id)
	d.gives("POST", "/api/v1/streams/cart-1/events", first, http.StatusOK, `"version": 1`, `"duplicate": true`)
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added", "expect": "none"}`, http.StatusConflict, "conflict on cart-1", `"code": 1`)
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added", "expect": 7}`, http.StatusConflict, "conflict on cart-1")
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added", "data": {"item": "mug"}, "expect": 1}`, http.StatusOK, `"version": 2`)
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added", "data": {"item": "mug"}, "expect": "exists"}`, http.StatusOK, `"version": 3`)
	d.gives("GET", "/api/v1/streams/cart-1", "", http.StatusOK, `"qty": 9007199254740993`, `"correlation": "r1"`, `"causation": "r0"`, `"source": "till"`, `"head": 3`)
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added", "extra": {"": "till"}}`, http.StatusBadRequest, "metadata that is empty")
	// Who has appended reads what he wrote.
	d.gives("GET", "/api/v1/projections/carts/wait?stream=cart-1&version=3", "", http.StatusOK, "carts shows version 3 of cart-1")
	d.gives("GET", "/api/v1/projections/carts/documents/1", "", http.StatusOK, `"tea": "9007199254740993"`)
	if _, err := d.store().Tombstone(t.Context(), eventstore.MustStreamID("cart", "1"), eventstore.Any, eventstore.Reason{}); err != nil {
		t.Fatal(err)
	}
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added"}`, http.StatusConflict, "tombstoned")
}

// A stream and an id may have any characters; a path has them percent-encoded.
func TestAPINames(t *testing.T) {
	t.Parallel()
	f := shop(t)
	d := f.serve().ready()
	for _, id := range []string{"a/b", "a b", "../..", "..", ".", "//", "100%", "%2F", "a?b=c#d", "käse", `"<&>"`, "a+b", "a;b", "{x}", "events", "-", "cart-1", strings.Repeat("x", 200)} {
		path := "/api/v1/streams/" + url.PathEscape("cart-"+id)
		d.gives("POST", path+"/events", `{"type": "added", "data": {"item": "tea", "qty": 2}}`, http.StatusOK, `"version": 1`)
		answer, text, err := d.send(d.request("GET", path, ""))
		var v eventsView
		if err != nil || answer.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), &v) != nil || v.Stream != "cart-"+id || v.Head != 1 {
			t.Errorf("cart-%s: %v, %s", id, err, text)
		}
		d.gives("GET", "/api/v1/projections/carts/wait?version=1&stream="+url.QueryEscape("cart-"+id), "", http.StatusOK, "carts shows version 1")
		// Dots alone are a step in a path, encoded or not, so no client sends them as they are.
		if id != "." && id != ".." {
			d.gives("GET", "/api/v1/projections/carts/documents/"+url.PathEscape(id), "", http.StatusOK, `"tea": "2"`)
		}
	}
	d.gives("GET", "/api/v1/streams/cart-a%00b", "", http.StatusBadRequest, "invalid stream")
	d.gives("GET", "/api/v1/streams/cart-"+strings.Repeat("x", 201), "", http.StatusBadRequest, "invalid stream")
	d.gives("GET", "/api/v1/streams/Cart-1", "", http.StatusBadRequest, "invalid stream")
}

// Pages together are the whole list.
func TestAPIPages(t *testing.T) {
	t.Parallel()
	f := shop(t)
	for i := range 25 {
		f.append(fmt.Sprintf("cart-%02d", i), "tea", 1)
	}
	f.append("order-1", "tea", 1)
	d := f.serve().ready()
	after, pages := "", 0
	var all []string
	for {
		_, text, err := d.send(d.request("GET", "/api/v1/streams?category=cart&limit=10&after="+url.QueryEscape(after), ""))
		var v streamsView
		if err == nil {
			err = json.Unmarshal([]byte(text), &v)
		}
		if err != nil || v.Total != 25 || pages > 3 {
			t.Fatalf("%v, %s", err, text)
		}
		for _, s := range v.Streams {
			all = append(all, s.Stream)
		}
		pages++
		if after = v.Next; after == "" {
			break
		}
	}
	if pages != 3 || len(all) != 25 || all[0] != "cart-00" || all[24] != "cart-24" {
		t.Errorf("%d pages have %v", pages, all)
	}
	if _, err := f.store().Delete(t.Context(), eventstore.MustStreamID("cart", "00"), eventstore.Any, eventstore.Reason{}); err != nil {
		t.Fatal(err)
	}
	d.gives("GET", "/api/v1/streams?category=cart&limit=1", "", http.StatusOK, `"total": 24`)
	d.gives("GET", "/api/v1/streams?category=cart&limit=1&ended=true", "", http.StatusOK, `"total": 25`, `"deleted"`)
}

// Events are listed page by page, and a page ends early where they are large.
func TestAPIPagesOfEvents(t *testing.T) {
	t.Parallel()
	const events, each = 30, 900_000
	f := shop(t)
	store := f.store()
	for range events {
		data, err := eventstore.MsgPack{}.Marshal(map[string]any{"item": strings.Repeat("x", each), "qty": 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Append(t.Context(), eventstore.MustStreamID("order", "1"), eventstore.Any, eventstore.Event{Type: "added", SchemaVersion: 1, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	d := f.serve().ready()
	for _, backward := range []bool{false, true} {
		var all []uint64
		for from, pages := "", 0; ; pages++ {
			_, text, err := d.send(d.request("GET", fmt.Sprintf("/api/v1/streams/order-1?limit=25&backward=%v%s", backward, from), ""))
			var v eventsPage
			if err == nil {
				err = json.Unmarshal([]byte(text), &v)
			}
			if n := len(v.Events); err != nil || n == 0 || n*each > pageBytes+each || pages > 5 || v.Head != events {
				t.Fatalf("page %d has %d events of %d: %v", pages, n, v.Head, err)
			}
			for _, e := range v.Events {
				all = append(all, e.Version)
			}
			if v.Next == 0 {
				break
			}
			from = fmt.Sprint("&from=", v.Next)
		}
		if backward {
			slices.Reverse(all)
		}
		if len(all) != events || all[0] != 1 || all[events-1] != events || !slices.IsSorted(all) {
			t.Errorf("backward %v: the pages have %v", backward, all)
		}
	}
	for query, next := range map[string]uint64{"limit=3": 4, "limit=3&from=28": 0, "limit=3&from=27": 30, "limit=2&from=2&backward=1": 0, "limit=2&from=3&backward=1": 1, "from=31": 0} {
		_, text, err := d.send(d.request("GET", "/api/v1/streams/order-1?"+query, ""))
		var v eventsPage
		if err == nil {
			err = json.Unmarshal([]byte(text), &v)
		}
		if err != nil || v.Next != next {
			t.Errorf("%s goes on from %d, want %d: %v", query, v.Next, next, err)
		}
	}
}

// What takes much of the daemon is done for few at a time, and who does not come to it is
// told to come back.
func TestAPITurns(t *testing.T) {
	t.Parallel()
	v := unserved(t, new(transcript))
	begun, end := make(chan bool, 2), make(chan bool)
	to := &route{within: time.Second, turns: make(chan struct{}, 1), call: func(*request) (any, error) {
		begun <- true
		<-end
		return "", nil
	}}
	v.opened.Store(new(space))
	answered := make(chan int)
	ask := func(ctx context.Context) {
		w := httptest.NewRecorder()
		v.api(to).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
		answered <- w.Code
	}
	go ask(t.Context())
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	go ask(short)
	if code := <-answered; code != http.StatusServiceUnavailable {
		t.Errorf("a second is answered with %d", code)
	}
	end <- true
	if code := <-answered; code != http.StatusOK {
		t.Errorf("the first is answered with %d", code)
	}
	go ask(t.Context())
	<-begun
	end <- true
	if code := <-answered; code != http.StatusOK {
		t.Errorf("one after them is answered with %d", code)
	}
	for _, r := range v.routes {
		if much := r.pattern == "/api/v1/streams" || r.pattern == "/api/v1/parked" || r.pattern == "/api/v1/workers/pending" || r.pattern == "/api/v1/streams/{stream}"; much != (r.turns != nil) {
			t.Errorf("%s %s takes much: %v", r.method, r.pattern, much)
		}
	}
}

// A changed projection is built, switched to and back, and the old generation deleted, with
// nothing but requests; what the commands want to have confirmed is confirmed.
func TestAPIGenerations(t *testing.T) {
	t.Parallel()
	f := worked(t, false).as(shopApp(2))
	d := f.serve(words("--only items --name items --ttl 1h")...).ready()
	carts := func(what string) string { return "/api/v1/projections/carts/" + what }
	d.gives("POST", carts("rebuild"), `{"park": true, "rate": 100000, "workers": 3}`, http.StatusOK, "generation 2 of carts is being built by the workers of version 2")
	d.gives("GET", "/api/v1/status", "", http.StatusOK, `"state": "building"`, `"share": 0`)
	d.gives("GET", "/api/v1/projections/carts", "", http.StatusOK, `"events_per_second": 100000`)
	d.gives("POST", carts("pause"), "", http.StatusOK, "generation 2 of carts is paused")
	d.gives("POST", carts("rebuild"), "", http.StatusConflict, "is paused")
	d.gives("POST", carts("promote"), `{"generation": 2, "confirm": true}`, http.StatusConflict, "readers can see only what is built")
	d.gives("POST", carts("resume"), `{"generation": 2}`, http.StatusOK, "is being built again")

	builder := f.serve("--only", "carts")
	testenv.Wait(t, waitLong, d.answers("POST", carts("rebuild"), "", http.StatusOK, "generation 2 of carts, of version 2, is built"))
	d.gives("POST", carts("promote"), "", http.StatusPreconditionRequired, "readers would see generation 2 of carts", `\"confirm\": true in the body does it`, `"code": 4`)
	d.gives("POST", carts("promote"), `{"confirm": false}`, http.StatusPreconditionRequired)
	d.gives("GET", carts("documents/1"), "", http.StatusOK, `"generation": 1`)
	d.gives("POST", carts("promote"), `{"confirm": true}`, http.StatusOK, "readers see generation 2 of carts")
	d.gives("GET", carts("documents/1"), "", http.StatusOK, `"generation": 2`, `"items": "2"`)
	d.gives("GET", carts("documents/1?generation=1"), "", http.StatusOK, `"generation": 1`)
	d.gives("POST", carts("rollback"), `{}`, http.StatusPreconditionRequired, "readers would see generation 1 of carts again")
	d.gives("POST", carts("rollback"), `{"confirm": true}`, http.StatusOK, "readers see generation 1 of carts again")
	d.gives("POST", carts("promote"), `{"confirm": true}`, http.StatusOK)

	// Generation 1 is behind, and no worker of its version runs.
	f.append("cart-1", "tea", 5)
	d.gives("POST", carts("rollback"), `{"confirm": true, "timeout": "100ms"}`, http.StatusGatewayTimeout, "was still behind after 100ms", `"code": 7`)
	d.gives("POST", carts("rollback"), `{"confirm": true, "now": true}`, http.StatusOK)

	// So is generation 2, once its worker is gone.
	builder.stop()
	<-keep(builder.ended)
	f.append("cart-1", "tea", 5)
	d.gives("POST", carts("promote"), `{"confirm": true, "timeout": "100ms"}`, http.StatusGatewayTimeout, "generation 2 of carts was still behind after 100ms, so readers see what they saw: is a worker of version 2 running?")
	d.gives("GET", carts("documents/1"), "", http.StatusOK, `"generation": 1`)

	d.gives("POST", carts("retire"), `{"generation": 2}`, http.StatusPreconditionRequired, "generation 2 of carts, version 2 of the code, would be deleted")
	d.gives("POST", carts("retire"), `{"generation": 1, "confirm": true}`, http.StatusConflict)
	d.gives("POST", carts("retire"), `{"generation": 2, "confirm": true}`, http.StatusOK, "generation 2 of carts is deleted")
	d.gives("GET", "/api/v1/projections/carts", "", http.StatusOK, `"active": 1`)
}

func TestAPIParked(t *testing.T) {
	t.Parallel()
	f := worked(t, true)
	d := f.serve().ready()
	stream := "/api/v1/parked/carts/cart-2"
	d.gives("POST", stream+"/retry", "", http.StatusOK, `"retried": 1`)
	testenv.Wait(t, waitLong, d.answers("GET", stream, "", http.StatusOK, "thirteen of it")) // again
	skip := func(version int, confirm bool) string {
		return fmt.Sprintf(`{"version": %d, "reason": "a test", "by": "ann", "confirm": %v}`, version, confirm)
	}
	d.gives("POST", stream+"/skip", skip(2, false), http.StatusPreconditionRequired, "carts would leave out version 2 of cart-2 for good", "confirm")
	d.gives("GET", stream, "", http.StatusOK)
	d.gives("POST", stream+"/skip", skip(1, true), http.StatusNotFound, "not parked at version 1")
	d.gives("POST", stream+"/skip", skip(2, true), http.StatusOK, "carts leaves out version 2 of cart-2")
	testenv.Wait(t, waitLong, d.answers("GET", "/api/v1/projections/carts/wait?stream=cart-2&version=2", "", http.StatusOK))
	d.gives("GET", "/api/v1/parked", "", http.StatusOK, `"total": 0`)
	d.gives("GET", "/api/v1/projections/carts", "", http.StatusOK, `"skipped": 1`)
}

// As long as the namespace is not open there is no API, but its description.
func TestAPIConnecting(t *testing.T) {
	t.Parallel()
	v := unserved(t, new(transcript))
	if err := v.listen(); err != nil {
		t.Fatal(err)
	}
	defer v.end()
	d := &serving{fixture: &fixture{T: t}, mux: v.mux, url: "http://" + v.listener.Addr().String()}
	for _, r := range v.routes {
		path := strings.NewReplacer("{stream}", "cart-1", "{name}", "carts", "{projection}", "carts", "{id}", "1").Replace(r.pattern)
		if r.call != nil {
			d.gives(r.method, path, "", http.StatusServiceUnavailable, "the namespace is not open yet", `"code": 6`)
		}
	}
	d.gives("GET", "/readyz", "", http.StatusServiceUnavailable, `"reason": "connecting"`)
	_, text, err := d.send(d.request("GET", "/api/v1/openapi.yaml", ""))
	if err != nil || !bytes.Equal([]byte(text), openapi) {
		t.Errorf("the description is %.100q, %v", text, err)
	}
}

// A Redis that is away is 503, and no secret is told.
func TestAPIRedisAway(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t, "--requirepass", "c4n4ry-passw0rd")
	const token = "c4n4ry-t0ken"
	f := shop(t).with(env("redis-url")+"="+server.URL(), env("http-token")+"="+token)
	d := f.serve("--drain-timeout", "100ms")
	d.token = token
	d.ready()
	server.Kill()
	for _, path := range []string{"status", "streams", "streams/cart-1", "projections", "projections/carts", "projections/carts/documents/1", "parked", "workers"} {
		d.gives("GET", "/api/v1/"+path, "", http.StatusServiceUnavailable, `"code": 6`)
	}
	d.gives("POST", "/api/v1/projections/carts/pause", "", http.StatusServiceUnavailable)
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added"}`, http.StatusServiceUnavailable)
	for _, path := range []string{"/readyz", "/healthz", "/metrics", "/api/v1/status", "/nothing"} {
		if _, text, err := d.send(d.request("GET", path, "")); err != nil || strings.Contains(text, "c4n4ry") {
			t.Errorf("%s tells a secret: %s, %v", path, text, err)
		}
	}
	if strings.Contains(d.log.String(), "c4n4ry") {
		t.Errorf("the log has a secret: %s", d.log.String())
	}
}

// A Redis that hangs is 503 as well, soon and by its name.
func TestAPIRedisHangs(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	f := shop(t).with(env("redis-url") + "=" + server.URL())
	d := f.serve("--drain-timeout", "100ms").ready()
	server.Stop()
	t.Cleanup(server.Continue)
	var all sync.WaitGroup
	for _, path := range []string{"status", "streams/cart-1", "projections", "projections/carts", "projections/carts/documents/1", "workers", "parked/carts/cart-1", "streams/cart-1/events", "projections/carts/pause"} {
		all.Go(func() {
			begin, method, body := time.Now(), "GET", ""
			switch path {
			case "streams/cart-1/events":
				method, body = "POST", `{"type": "added"}`
			case "projections/carts/pause":
				method = "POST"
			}
			d.gives(method, "/api/v1/"+path, body, http.StatusServiceUnavailable, "Redis at "+server.URL()+" does not answer in time", `"code": 6`)
			if took := time.Since(begin); took > 2*callWithin {
				t.Errorf("%s is answered after %v", path, took)
			}
		})
	}
	all.Wait()
}

// Read models in Postgres are answered with as well, also when many ask at once for one
// that the worker does not work on.
func TestAPIPostgres(t *testing.T) {
	t.Parallel()
	d := inPostgres(t).serve("--only", "carts").ready()
	d.gives("POST", "/api/v1/streams/cart-1/events", `{"type": "added", "data": {"item": "tea", "qty": 2}}`, http.StatusOK)
	d.gives("GET", "/api/v1/projections/carts/wait?stream=cart-1&version=1", "", http.StatusOK)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			d.gives("GET", "/api/v1/projections/carts/documents/1", "", http.StatusOK, `"tea": "2"`)
			d.gives("GET", "/api/v1/projections/items/documents/tea", "", http.StatusNotFound, "items has not run")
			d.gives("GET", "/api/v1/status", "", http.StatusOK, `"behind": 0`)
		})
	}
	all.Wait()
}
