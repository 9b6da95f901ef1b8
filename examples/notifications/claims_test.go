package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// scene is a stage on a real Redis, of one test.
type scene struct {
	*testing.T
	*stage
}

func newScene(t *testing.T, forgetful bool) *scene {
	t.Helper()
	at, err := newStage(t.Context(), testenv.RedisURL(t), testenv.Namespace(t), forgetful)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(at.close)
	return &scene{t, at}
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// happens has so many things happen to each of so many users, in turn.
func (s *scene) happens(users, each int) {
	s.Helper()
	for n := range each {
		for user := range users {
			s.must(s.stage.happen(s.Context(), user+1, n%len(happenings)))
		}
	}
}

func (s *scene) worker(name, channels string, flags ...string) {
	s.Helper()
	s.must(s.start(s.Context(), name, channels, flags...))
}

func (s *scene) fault(f provider.Fault) {
	s.Helper()
	s.must(s.provider.Set(f))
}

// ends waits until channels have delivered everything, and checks that it was each
// notification once, to each user in order.
func (s *scene) ends(channels ...string) {
	s.Helper()
	for _, name := range channels {
		s.must(s.atEnd(s.Context(), name, s.total(name)))
		s.must(s.exact(name, s.provider.Deliveries(name)))
	}
}

// Each channel sees everything from the beginning, whoever has seen it before, and sms passes
// over what is not for it.
func TestEachChannelSeesAll(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	s.happens(10, 10)
	s.worker("one", "", "--only", email)
	s.ends(email)
	s.worker("two", "", "--only", sms+","+push)
	s.ends(sms, push)
	if s.total(sms) != 40 || s.total(push) != 100 {
		t.Errorf("sms was to deliver %d, push %d", s.total(sms), s.total(push))
	}
	s.happens(10, 3)
	s.ends(email, sms, push)
}

// shared has two processes share the e-mail, in which replies are lost and calls fail, and
// kills one between a delivery and its checkpoint.
func (s *scene) shared() {
	s.Helper()
	s.fault(provider.Fault{Channel: email, Slow: "1h", Fail: 3, Lose: 4})
	s.happens(12, 10)
	for _, name := range []string{"one", "two"} {
		s.worker(name, "", "--only", email, "--capacity", fmt.Sprint(room))
	}
	s.must(s.holding(s.Context(), email, room, "one", "two"))
	killed := s.killBehind(email, "one", 20)
	s.fault(provider.Fault{Channel: email, Slow: "0s"})
	select {
	case d := <-killed:
		s.Logf("killed behind version %d of %s", d.Version, d.User)
	case <-time.After(waitLong):
		s.Fatal("the worker did not come to its delivery 20")
	}
	if s.provider.In(email).Deliveries >= s.total(email) {
		s.Fatal("nothing was left to be taken over")
	}
}

// Two processes share the work of a channel. What was called again because a reply was lost,
// or because its worker died between delivering and taking note of it, is delivered once.
func TestSharedAndKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	s.shared()
	s.ends(email)
	c := s.provider.In(email)
	t.Logf("%d calls, %d deliveries: %v", c.Calls, c.Deliveries, c.Workers)
	s.must(story.Expect(c.Deliveries, 120, "deliveries"))
	s.must(story.AtLeast(c.Repeated, 4+1, "calls that were repeated")) // lost ones, and the last of the dead
	s.must(story.AtLeast(c.Calls, 120+3+4+1, "calls"))
	s.must(story.AtLeast(c.Workers["one"], 20, "deliveries of one"))
	s.must(story.AtLeast(c.Workers["two"], 1, "deliveries of two"))
}

// Where the provider forgets what it has delivered under a key, the same comes to more
// deliveries than events: that is what the counts of the other tests would show.
func TestWithoutKeys(t *testing.T) {
	t.Parallel()
	s := newScene(t, true)
	s.shared()
	s.must(s.crew.Until(s.Context(), "email is at its end", func() error {
		behind, err := s.behind(s.Context(), email)
		if err != nil {
			return err
		}
		return story.Expect(behind, 0, "events and pointers to go")
	}))
	if err := story.AtLeast(s.provider.In(email).Deliveries, 120+4+1, "deliveries"); err != nil {
		t.Error(err)
	}
	if err := s.exact(email, s.provider.Deliveries(email)); err == nil {
		t.Error("the provider has delivered twice, and it does not show")
	}
}

// A channel that hangs holds up no other, not even in its own process, and goes on where it
// was.
func TestSlowChannel(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	s.fault(provider.Fault{Channel: sms, Slow: "1h"})
	s.happens(30, 10)
	s.worker("all", "")
	s.ends(email, push)
	s.happens(30, 10)
	s.ends(email, push)
	s.must(story.Expect(s.provider.In(sms).Deliveries, 0, "short messages"))
	if len(s.provider.In(sms).Waiting) == 0 {
		t.Error("nothing waits at the provider of sms")
	}
	s.fault(provider.Fault{Channel: sms, Slow: "0s"})
	s.ends(sms)
}

// A provider that says nothing says nothing about a user: nobody is parked, however often it
// is tried.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	s.fault(provider.Fault{Channel: push, Slow: "1h"})
	s.happens(1, 5)
	s.worker("all", "", "--deadline", "100ms", "--attempts", "2")
	s.must(s.crew.Until(s.Context(), "it was tried often", func() error { return story.AtLeast(s.provider.In(push).Calls, 5, "calls") }))
	parked, err := s.parked(s.Context(), push)
	s.must(err)
	if len(parked) > 0 {
		t.Errorf("push has parked %v", parked)
	}
	s.fault(provider.Fault{Channel: push, Slow: "0s"})
	s.ends(email, sms, push)
}

// A user whom the provider refuses for good is parked in that channel alone, with the reason,
// and nobody else waits; once it is mended, a retry goes on with the first that is missing.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	s.fault(provider.Fault{Channel: push, Refuse: "user-2"})
	s.happens(5, 10)
	s.worker("all", "")
	s.ends(email, sms)
	s.must(s.atEnd(s.Context(), push, 40))
	for name, want := range map[string][]string{email: nil, sms: nil, push: {"user-2"}} {
		if parked, err := s.parked(s.Context(), name); err != nil || !slices.Equal(parked, want) {
			t.Errorf("%s has parked %v (%v), want %v", name, parked, err, want)
		}
	}
	s.must(story.Expect(s.provider.In(push).Refused, 1, "calls that were refused: trying again mends nothing"))
	listed, err := s.command(s.Context(), "", "parked", "show", push, "user-2")
	s.must(err)
	if !strings.Contains(listed, "user-2 cannot be reached by push") {
		t.Errorf("the reason is not told: %s", listed)
	}
	s.fault(provider.Fault{Channel: push, Accept: "user-2"})
	_, err = s.command(s.Context(), "", "parked", "retry", push, "user-2")
	s.must(err)
	s.ends(push)
}

// A channel that is added when the pointers to what has happened are long gone starts from the
// first event. The release without it goes on beside the one with it, and neither delivers
// again what the other did; what only the new one knows the old one leaves alone. A channel that was away goes on where it was.
func TestChannelAddedLater(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	old := []string{email, sms, push}
	s.happens(20, 10)
	s.worker("old", "")
	s.ends(old...)
	keys := keyspace.New(s.namespace, s.store.Partitions())
	for partition := range s.store.Partitions() {
		s.must(s.client.XTrimMaxLen(s.Context(), keys.Log(partition), 0).Err())
	}
	calls := s.provider.In(email).Calls
	s.worker("new", strings.Join(known, ","))
	s.ends(known...)
	s.must(story.Expect(s.provider.In(email).Calls, calls, "mails asked for"))

	s.happens(20, 5)
	s.ends(known...)
	s.must(story.Expect(s.provider.In(chat).Workers["new"], s.total(chat), "deliveries of the release that has chat"))

	for _, args := range [][]string{{"projections", "ls"}, {"status"}} {
		said, err := s.command(s.Context(), "", args...)
		s.must(err)
		if !strings.Contains(said, "chat ") {
			t.Errorf("%v of the old release does not show chat: %s", args, said)
		}
	}
	// What chat needs the old release cannot know, so it removes nothing.
	truncate := []string{"streams", "truncate", "user-1", "--before", "3", "--yes"}
	if _, err := s.command(s.Context(), "", truncate...); err == nil || !strings.Contains(err.Error(), "chat has generations here") {
		t.Errorf("the old release removes events: %v", err)
	}
	_, err := s.command(s.Context(), strings.Join(known, ","), truncate...)
	s.must(err)

	// The new release is taken back, and comes again.
	s.must(s.stopped("new"))
	s.happens(20, 5)
	s.ends(old...)
	s.must(story.Expect(s.provider.In(chat).Deliveries, s.total(chat)-20*5, "deliveries of a channel that is away"))
	s.worker("newer", strings.Join(known, ","))
	s.ends(known...)
	for _, name := range []string{"old", "newer"} {
		s.must(s.stopped(name))
	}
}

// The notifications of a user come in order in each channel, however often the provider
// fails or loses a reply.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t, false)
	for _, name := range []string{email, sms, push} {
		s.fault(provider.Fault{Channel: name, Fail: 5, Lose: 5})
	}
	s.happens(2, 50)
	s.worker("one", "")
	s.worker("two", "")
	s.ends(email, sms, push)
}

func TestUnknownChannel(t *testing.T) {
	t.Parallel()
	if _, err := newApp(func(string) string { return "email,fax" }); err == nil || !strings.Contains(err.Error(), `"fax"`) {
		t.Errorf("a channel that there is not: %v", err)
	}
}

// A provider that is away is asked again; a call that it refuses, or makes nothing of, is not.
func TestVerdict(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(provider.New(provider.Config{}))
	t.Cleanup(server.Close)
	to := &provider.Client{URL: server.URL}
	if err := verdict(to.Set(t.Context(), provider.Fault{Channel: push, Fail: 1, Refuse: "user-1"})); err != nil {
		t.Fatal(err)
	}
	d := provider.Delivery{Channel: push, Event: "1", User: "user-1"}
	if err := verdict(to.Deliver(t.Context(), d)); !errors.Is(err, projector.ErrTransient) {
		t.Errorf("a call that fails: %v", err)
	}
	if err := verdict(to.Deliver(t.Context(), d)); !errors.Is(err, projector.ErrUnrecoverable) {
		t.Errorf("a call that is refused: %v", err)
	}
	if err := verdict(to.Deliver(t.Context(), provider.Delivery{Channel: push})); !errors.Is(err, projector.ErrUnrecoverable) {
		t.Errorf("a call that makes no sense: %v", err)
	}
	if err := verdict(to.Deliver(t.Context(), provider.Delivery{Channel: push, Event: "1", User: "user-2"})); err != nil {
		t.Errorf("a call that is answered: %v", err)
	}
}
