package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/browser"
	"github.com/projectord/projectord/internal/testenv"
)

// line is what lies between the browser and the daemons. It may be cut.
type line struct {
	url string

	mu    sync.Mutex // guards the rest
	to    string     // the address of a daemon; empty where the line is down
	conns map[net.Conn]bool
}

// newLine lays one until the end of the test.
func newLine(t *testing.T) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{url: "http://" + listener.Addr().String() + "/", conns: make(map[net.Conn]bool)}
	var all sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		l.lead(nil)
		all.Wait()
	})
	all.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			if to := l.connect(from); to != nil {
				all.Go(func() { _, _ = io.Copy(to, from); from.Close(); to.Close() })
				all.Go(func() { _, _ = io.Copy(from, to); from.Close(); to.Close() })
			}
		}
	})
	return l
}

// connect returns the other end of a connection, nil where there is none.
func (l *line) connect(from net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	to, err := net.Dial("tcp", l.to)
	if l.to == "" || err != nil {
		from.Close()
		return nil
	}
	l.conns[from], l.conns[to] = true, true
	return to
}

// lead has the line lead to a daemon, or to none. The connections there are break.
func (l *line) lead(to *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
	clear(l.conns)
	if l.to = ""; to != nil {
		l.to = strings.TrimPrefix(to.url, "http://")
	}
}

// A page shows fragments as they come. It loses its connection, the daemon that writes is
// killed, somebody cuts it off and loads it again: in the end it has each fragment once and
// in order, and learns that the message has gone.
func TestBrowser(t *testing.T) {
	page := browser.Open(t)
	server := testenv.StartRedis(t)
	const (
		pace = 200 * time.Millisecond // an answer takes 15 s
		soon = 20 * time.Second       // a machine may be busy
	)
	crew := newCrew(server.URL())
	t.Cleanup(crew.Kill)
	start := func(name string, flags ...string) *worker {
		t.Helper()
		c, err := startWorker(t.Context(), crew, name, []string{"DELTAS_PACE=" + pace.String(), "DELTAS_IDLE=2s"}, flags...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, way := start("one"), newLine(t)
	way.lead(one)

	// card is an expression about the card of a message, which is m.
	card := func(id, of string) string {
		return fmt.Sprintf(`(() => { const m = document.querySelector(%q); return m && (%s); })()`, id, of)
	}
	ask := func(question string) (id string) {
		t.Helper()
		before := 0
		page.Eval(`document.querySelectorAll("article").length`, &before)
		page.Eval(fmt.Sprintf(`document.querySelector("input").value = %q; document.querySelector("form").requestSubmit()`, question), nil)
		page.Wait(soon, fmt.Sprintf(`document.querySelectorAll("article").length > %d`, before))
		page.Eval(`document.querySelector("article").id`, &id)
		return "#" + id
	}
	fragments := func(id string, n int) {
		t.Helper()
		page.Wait(soon, card(id, fmt.Sprintf(`m.dataset.fragments >= %d`, n)))
	}
	count := func(id string) (n int) {
		t.Helper()
		page.Eval(card(id, `Number(m.dataset.fragments)`), &n)
		return n
	}
	state := func(id, name string) {
		t.Helper()
		page.Wait(soon, card(id, fmt.Sprintf(`m.dataset.state === %q`, name)))
	}

	// shown returns what a message shows, which is each fragment once and in order.
	shown := func(id, question string) string {
		t.Helper()
		var got struct {
			Text, Title string
			Versions    []int
		}
		page.Eval(card(id, `{ text: m.querySelector("p").textContent, title: m.querySelector("h2").textContent, versions: [...m.querySelectorAll("span[data-version]")].map((s) => Number(s.dataset.version)) }`), &got)
		if !strings.HasPrefix(reply(question), got.Text) || got.Title != question {
			t.Errorf("%s, which asks %q, shows %q", id, got.Title, got.Text)
		}
		for i, version := range got.Versions {
			if version != i+2 { // the question is version 1
				t.Errorf("%s shows %v", id, got.Versions)
				break
			}
		}
		return got.Text
	}

	page.Go(way.url)
	page.Wait(soon, `document.readyState === "complete"`)
	page.Eval(`window.times = []; new MutationObserver((all) => {
		for (const m of all) for (const n of m.addedNodes) if (n.tagName === "SPAN") window.times.push(performance.now());
	}).observe(document.querySelector("main"), { childList: true, subtree: true })`, nil)
	const question = "what is <b>this</b>?"
	tea := ask(question)
	fragments(tea, 10)
	var took float64
	page.Eval(`window.times[9] - window.times[0]`, &took)
	if least := 5 * pace; took < float64(least.Milliseconds()) {
		t.Errorf("ten fragments come within %.0f ms: they are not shown one by one", took)
	}

	// The connection breaks, and is not to be had for a while.
	before := count(tea)
	way.lead(nil)
	state(tea, "broken")
	way.lead(one)
	state(tea, "live")
	fragments(tea, before+3)
	shown(tea, question)

	// What writes and answers is killed. Another daemon has the address.
	two := start("two")
	one.Kill()
	before = count(tea)
	state(tea, "broken")
	way.lead(two)
	fragments(tea, before+3)
	shown(tea, question)

	// Somebody cuts the connection. The writer goes on, and so does the page later.
	page.Eval(card(tea, `(m.querySelector(".cut").click(), true)`), nil)
	state(tea, "cut")
	before = count(tea)
	r := &reader{message: tea[1:]}
	if err := r.connect(t.Context(), two.url); err != nil {
		t.Fatal(err)
	}
	if _, err := r.follow(func(t told) bool { return t.data.Version >= uint64(before+5) }); err != nil {
		t.Fatal(err)
	}
	if now := count(tea); now != before {
		t.Errorf("a page that was cut off has %d fragments, and had %d", now, before)
	}
	page.Eval(card(tea, `(m.querySelector(".cut").click(), true)`), nil)
	fragments(tea, before+4)
	shown(tea, question)

	// It is loaded again, and follows what its URL says, beside other messages.
	page.Eval(`window.old = true`, nil)
	page.Reload()
	page.Wait(soon, `!window.old && document.readyState === "complete"`)
	fragments(tea, before+5)
	cake, pie := ask("and cake?"), ask("and pie?")
	page.Wait(soon, `document.querySelectorAll("article[data-state=live]").length >= 2`)
	for id, question := range map[string]string{tea: question, cake: "and cake?", pie: "and pie?"} {
		state(id, "finished")
		if text := shown(id, question); text != reply(question) {
			t.Errorf("in the end %s shows %q", id, text)
		}
	}

	// What is closed is still to be had, by what it asks.
	page.Eval(card(pie, `(m.querySelector(".close").click(), true)`), nil)
	page.Wait(soon, `[...document.querySelectorAll("#others button")].some((b) => b.textContent === "and pie?" && (b.click(), true))`)
	state(pie, "finished")

	start("retention", "--retention-every", "1s", "--only", "messages")
	for _, id := range []string{tea, cake, pie} {
		state(id, "expired")
		page.Wait(soon, card(id, `m.textContent.includes("no event for 2s")`))
	}
	page.Reload() // it is still said then
	page.Wait(soon, `document.querySelectorAll("article[data-state=expired]").length === 3`)
	if mistakes := page.Mistakes(); len(mistakes) > 0 {
		t.Errorf("the page made mistakes: %q", mistakes)
	}

	// A page can ask nobody else.
	var asked string
	page.Eval(fmt.Sprintf(`fetch(%q).then(() => "answered", (err) => "refused")`, two.url+"/healthz"), &asked)
	if mistakes := page.Mistakes(); asked != "refused" || len(mistakes) == 0 || !strings.Contains(mistakes[0], "Content Security Policy") {
		t.Errorf("another server is asked: %s, %q", asked, mistakes)
	}
}

// Where requests have to show a token, the page is shown, and says what helps.
func TestBrowserWithToken(t *testing.T) {
	page := browser.Open(t)
	crew := newCrew(testenv.StartRedis(t).URL())
	t.Cleanup(crew.Kill)
	c, err := startWorker(t.Context(), crew, "one", []string{"PROJECTORD_HTTP_TOKEN=sesame"})
	if err != nil {
		t.Fatal(err)
	}
	page.Go(c.url + "/?ask=tea")
	page.Wait(20*time.Second, `document.querySelector("#note").textContent.includes("http-token")`)
	page.Wait(20*time.Second, `document.querySelector("#message-tea").dataset.state === "lost"`)
}
