package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/story"
)

const (
	// storyPace is how long the writer takes for a word there, storyIdle how long a message
	// may be idle at the end of it.
	storyPace = 15 * time.Millisecond
	storyIdle = time.Second
	// storyWithin bounds how long the story takes where something does not come true.
	storyWithin = time.Minute
)

// stage is where the story takes place.
type stage struct {
	out      io.Writer
	events   *eventstore.Registry
	crew     *story.Crew
	store    *redisstore.Store // of a producer in this process
	one, two *worker
}

// say prints a paragraph.
func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n\n", args...) }

// tell shows what the example is about, and checks that it is so.
func tell(ctx context.Context, server *embedded.Server, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storyWithin)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true, MaxRetries: -1})
	defer client.Close()
	s := &stage{out: out, events: registry(), crew: newCrew(server.URL())}
	defer s.crew.Kill()
	if s.store, err = redisstore.Open(ctx, client, redisstore.Config{}); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{s.ask, s.crowd, s.idle, s.trim} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	s.say("That was all. `serve` shows the same in a browser.")
	return nil
}

// post appends an event by HTTP, on a connection of its own that is closed then.
func (s *stage) post(ctx context.Context, to *worker, message, event, data string) error {
	body := fmt.Sprintf(`{"type": %q, "data": %s}`, event, data)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url+"/api/v1/streams/"+message+"/events", strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	_, err = answered(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, r)
	return err
}

// add appends a fragment from this process.
func (s *stage) add(ctx context.Context, message, text string) error {
	e, err := s.events.Encode(Fragment{text})
	if err != nil {
		return err
	}
	_, err = s.store.Append(ctx, eventstore.MustStreamID(category, message), eventstore.Any, e)
	return err
}

// ask has a message written, whatever becomes of who asked for it, who reads it and who
// writes it.
func (s *stage) ask(ctx context.Context) (err error) {
	s.say("AN ANSWER OUTLIVES ITS REQUEST, ITS READER'S CONNECTION, AND ITS WRITER")
	if s.one, err = startWorker(ctx, s.crew, "one", nil); err != nil {
		return err
	}
	const question = "what is this?"
	if err := s.post(ctx, s.one, "message-tea", "asked", fmt.Sprintf(`{"question": %q}`, question)); err != nil {
		return err
	}
	s.say("An HTTP request asks %q: it appends an event to the stream message-tea, is answered, and its\nconnection is closed. Nobody waits for the answer.", question)

	first, second := &reader{message: "message-tea"}, &reader{message: "message-tea"}
	for _, r := range []*reader{first, second} {
		if err := r.connect(ctx, s.one.url); err != nil {
			return err
		}
	}
	if _, err := first.follow(func(t told) bool { return t.id == "8" }); err != nil {
		return err
	}
	if err := first.connect(ctx, s.one.url); err != nil {
		return err
	}
	t, err := first.next()
	if err != nil {
		return err
	}
	s.say("It is written all the same, by the worker one, and a reader follows by server-sent events. Having\nversion 8 it loses its connection. It comes back with Last-Event-ID: 8, and is told version %s next.", t.id)
	if t.id != "9" {
		return fmt.Errorf("the reader that came back was told %+v", t)
	}

	if s.two, err = startWorker(ctx, s.crew, "two", nil); err != nil {
		return err
	}
	if _, err := first.follow(func(t told) bool { return t.id == "30" }); err != nil {
		return err
	}
	s.one.Kill()
	if err := first.connect(ctx, s.two.url); err != nil {
		return err
	}
	end, err := first.follow(func(t told) bool { return t.data.Type == "finished" })
	if err != nil {
		return err
	}
	text, err := first.text()
	if err != nil {
		return err
	}
	if text != reply(question) {
		return fmt.Errorf("the reader has %q", text)
	}
	s.say("At version 30 the process of one is killed, in the middle of its sentence. The worker two goes on\nbehind the last word, once one's session has run out, and the reader comes back to two. In the end\nit has all of versions 1 to %s, once and in order.", end.id)
	if _, err := second.follow(func(t told) bool { return t.data.Type == "finished" }); err == nil {
		return errors.New("a reader of the killed process was told the end, so that another writer was none")
	}
	return s.late(ctx, question, end.id)
}

// late is a reader that comes when all is over.
func (s *stage) late(ctx context.Context, question, last string) error {
	r := &reader{message: "message-tea"}
	if err := r.connect(ctx, s.two.url); err != nil {
		return err
	}
	if _, err := r.follow(func(t told) bool { return t.id == last }); err != nil {
		return err
	}
	text, err := r.text()
	if err != nil {
		return err
	}
	whole, err := get(ctx, s.two.url+"/api/v1/projections/messages/wait?stream=message-tea&timeout=10s&version="+last, nil)
	if err == nil {
		whole, err = get(ctx, s.two.url+"/api/v1/projections/messages/documents/tea", nil)
	}
	if err != nil {
		return err
	}
	if text != reply(question) || !strings.Contains(whole, text) {
		return fmt.Errorf("a late reader has %q, and the document is %s", text, whole)
	}
	s.say("A reader that comes only now is told all of it, from version 1 to %s. Who wants no fragments reads the\ndocument tea, which the projection messages keeps: the whole text at once.", last)
	return nil
}

// crowd has two producers write one message at the same time.
func (s *stage) crowd(ctx context.Context) (err error) {
	s.say("MANY PRODUCERS, ONE ORDER")
	if s.one, err = startWorker(ctx, s.crew, "one", nil); err != nil {
		return err
	}
	const each = 25
	here, there := &reader{message: "message-duet"}, &reader{message: "message-duet"}
	if err := errors.Join(here.connect(ctx, s.one.url), there.connect(ctx, s.two.url)); err != nil {
		return err // before the first producer: the stream does not exist yet
	}
	writing := make(chan error, 2)
	go func() {
		var err error
		for i := 0; i < each && err == nil; i++ {
			err = s.post(ctx, s.two, "message-duet", "fragment", fmt.Sprintf(`{"text": "ann%d "}`, i))
		}
		writing <- err
	}()
	go func() {
		var err error
		for i := 0; i < each && err == nil; i++ {
			err = s.add(ctx, "duet", fmt.Sprintf("bob%d ", i))
		}
		writing <- err
	}()
	if err := errors.Join(<-writing, <-writing); err != nil {
		return err
	}
	var texts []string
	for _, r := range []*reader{here, there} {
		if _, err := r.follow(func(t told) bool { return t.id == fmt.Sprint(2*each) }); err != nil {
			return err
		}
		text, err := r.text()
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	if texts[0] != texts[1] {
		return fmt.Errorf("two readers have %q and %q", texts[0], texts[1])
	}
	next := map[string]int{}
	for word := range strings.FieldsSeq(texts[0]) {
		by := word[:3]
		if word != fmt.Sprint(by, next[by]) {
			return fmt.Errorf("%s comes where %s%d is next: %s", word, by, next[by], texts[0])
		}
		next[by]++
	}
	if next["ann"] != each || next["bob"] != each {
		return fmt.Errorf("of the producers there are %v fragments", next)
	}
	s.say("ann writes to message-duet by HTTP and bob from a program, %d fragments each, at the same time. A reader\nat the worker one and another at two have seen the same order of all %d, and in it ann's and bob's own.", each, 2*each)
	return nil
}

// idle has messages go to which nobody writes.
func (s *stage) idle(ctx context.Context) error {
	s.say("IDLE MESSAGES GO")
	// Somebody goes on writing this one, until the other is gone.
	writing, stop := context.WithCancel(ctx)
	defer stop()
	busy := make(chan error, 1)
	begun := time.Now()
	go func() {
		var err error
		for err == nil {
			if err = s.add(writing, "busy", "on "); err == nil {
				err = wait(writing, 50*time.Millisecond)
			}
		}
		busy <- err
	}()
	quiet := &reader{message: "message-quiet"}
	if err := errors.Join(s.add(ctx, "quiet", "that was it"), quiet.connect(ctx, s.two.url)); err != nil {
		return err
	}
	retention, err := startWorker(ctx, s.crew, "retention", []string{"DELTAS_IDLE=" + storyIdle.String()}, "--retention-every", "1s", "--only", "messages")
	if err != nil {
		return err
	}
	defer retention.Kill()
	end, err := quiet.follow(func(t told) bool { return t.name == "end" })
	if err != nil {
		return err
	}
	lasted := time.Since(begun)
	stop()
	if err := <-busy; !errors.Is(err, context.Canceled) {
		return err
	}
	left, ended, err := s.left(ctx, category, "busy")
	if err != nil {
		return err
	}
	if end.data.Reason != "deleted" || lasted < storyIdle || ended || left < int(storyIdle/(100*time.Millisecond)) {
		return fmt.Errorf("message-quiet ended with %+v after %s, message-busy has %d events and has ended: %t", end, lasted, left, ended)
	}
	s.say("A daemon with --retention-every 1s applies the rule that a message goes after %s without a fragment.\nA reader of message-quiet, which got one fragment, is told that it has ended: %s, %q.\nmessage-busy is older, and is there with all its fragments: with each of them the time begins anew.", storyIdle, end.data.Reason, end.data.Text)
	return nil
}

// trim removes old events of streams that nobody folds.
func (s *stage) trim(ctx context.Context) error {
	s.say("TRIMMING")
	const events, old = 1000, 600
	for _, c := range []string{"exact", "roughly"} {
		if _, err := produce(ctx, s.store, s.events, eventstore.MustStreamID(c, "log"), "line", events, 100, time.Now()); err != nil {
			return err
		}
	}
	recent := eventstore.MustStreamID("recent", "log")
	_, err := produce(ctx, s.store, s.events, recent, "line", old, 100, time.Now().Add(-2*time.Hour))
	if err == nil {
		_, err = produce(ctx, s.store, s.events, recent, "line", events-old, 100, time.Now())
	}
	if err != nil {
		return err
	}
	if _, err := s.crew.Run(ctx, nil, "retention", "apply", "--yes"); err != nil {
		return err
	}
	count := make(map[string]int)
	for _, c := range []string{"exact", "roughly", "recent"} {
		if count[c], _, err = s.left(ctx, c, "log"); err != nil {
			return err
		}
	}
	if count["exact"] != newest || count["roughly"] < newest || count["recent"] != events-old {
		return fmt.Errorf("of %d events each, there are left %v", events, count)
	}
	s.say(`Three streams have %d events each, and the command retention apply removes what no rule wants:
  exact-log    the newest %d are wanted                %d are left
  roughly-log  the newest %d, or some more             %d are left
  recent-log   those of the last hour, which are %d    %d are left
This embedded server always cuts where it is told. A Redis keeps events in nodes of up to 100, and
for a rule that is Approximate it removes whole nodes alone, which is cheaper: it leaves some more.`,
		events, newest, count["exact"], newest, count["roughly"], events-old, count["recent"])
	return nil
}

// left returns how many events a stream has, and whether it has ended.
func (s *stage) left(ctx context.Context, of, id string) (events int, ended bool, err error) {
	for e, err := range s.store.Read(ctx, eventstore.MustStreamID(of, id), eventstore.Range{Backward: true}) {
		if err != nil {
			return 0, false, err
		}
		ended = ended || e.EndsStream()
		events++
	}
	return events, ended, nil
}
