package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

const (
	storyNamespace = "notifications"
	storyUsers     = 12
	// storyEvents is how much happens to all users together, the same to each.
	storyEvents = storyUsers * perUser
	perUser     = 5
	// killedBehind is behind how many of its mails email-1 is killed; it has room for four
	// users, which have more.
	killedBehind = 12
	// unreachable is a user without a device.
	unreachable = "user-7"
)

// telling is the story while it is told.
type telling struct {
	io.Writer
	url      string // of the embedded server
	provider *provider.Provider
	at       string // its URL
	store    *redisstore.Store
	log      *lease.Log
	wanted   map[string]map[string][]string // by channel and user: the ids of events to be delivered, in order

	killing sync.Once
	killed  chan provider.Delivery // the delivery that a worker was killed behind
	crew    map[string]*worker
}

// story tells what this is about, on an embedded server, and returns an error where
// something did not come true.
func story(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := embedded.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()
	t := &telling{Writer: out, url: server.URL(), killed: make(chan provider.Delivery, 1), crew: make(map[string]*worker)}
	defer t.end()
	if t.store, err = redisstore.Open(ctx, client, redisstore.Config{Namespace: storyNamespace}); err != nil {
		return err
	}
	if t.log, err = lease.NewLog(client, lease.Config{Namespace: storyNamespace, Partitions: t.store.Partitions()}); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	t.at = "http://" + listener.Addr().String()
	t.provider = provider.New(provider.Config{Delivered: t.delivered})
	go serveUntil(ctx, listener, t.provider)
	for _, chapter := range []func(context.Context) error{t.begin, t.share, t.slow, t.refused, t.later, t.count} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *telling) say(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// begin has something happen to all users.
func (t *telling) begin(ctx context.Context) error {
	t.say("Something happens to %d users, %d times to each: somebody follows them, or a product has news.", storyUsers, perUser)
	t.say("Each user is a stream in Redis, user-1 to user-%d, and each of the %d notifications an event.", storyUsers, storyEvents)
	events := newRegistry()
	for user := range storyUsers {
		for n := range perUser {
			if err := happen(ctx, t.store, events, user+1, n); err != nil {
				return err
			}
		}
	}
	t.wanted = make(map[string]map[string][]string)
	for _, name := range known {
		t.wanted[name] = make(map[string][]string)
	}
	for user := range storyUsers {
		stream, err := eventstore.NewStreamID(category, fmt.Sprint(user+1))
		if err != nil {
			return err
		}
		for r, err := range t.store.Read(ctx, stream, eventstore.Range{}) {
			if err != nil {
				return err
			}
			for _, name := range known {
				if update, is := happenings[r.Version-1].(ProductUpdate); name == sms && (!is || update.Type != security) {
					continue
				}
				t.wanted[name][stream.String()] = append(t.wanted[name][stream.String()], r.ID.String())
			}
		}
	}
	t.say("\nThree reactors see all of it: email, sms and push. Which of it they deliver they decide themselves:")
	t.say("sms takes warnings about security only, %d of the %d.", t.total(sms), storyEvents)
	return nil
}

// total returns how many events a channel wants delivered.
func (t *telling) total(name string) int {
	n := 0
	for _, ids := range t.wanted[name] {
		n += len(ids)
	}
	return n
}

// share has two processes share the e-mail, and one of them killed at the worst moment,
// while a third one does sms and push.
func (t *telling) share(ctx context.Context) error {
	for _, f := range []provider.Fault{
		{Channel: email, Slow: "1h", Fail: 2, Lose: 3}, {Channel: sms, Slow: "1h"}, {Channel: push, Refuse: unreachable},
	} {
		if err := t.provider.Set(f); err != nil {
			return err
		}
	}
	t.say("\nTwo processes, email-1 and email-2, share the e-mail. A third one, mobile, does sms and push.")
	// With room for a few users each, none of the two can have all of them.
	for _, name := range []string{"email-1", "email-2"} {
		if err := t.start(ctx, name, "", "--only", email, "--capacity", "4"); err != nil {
			return err
		}
	}
	if err := t.start(ctx, "mobile", "", "--only", sms+","+push); err != nil {
		return err
	}
	if err := t.until(ctx, "both email-1 and email-2 have something to deliver", func() error {
		return expect(len(t.provider.In(email).Waiting), 2, "workers that call")
	}); err != nil {
		return err
	}
	t.say("Mails are delivered, though the provider fails 2 calls, and loses its reply to 3 others.")
	if err := t.provider.Set(provider.Fault{Channel: email, Slow: "0s"}); err != nil {
		return err
	}
	select {
	case d := <-t.killed:
		t.say("email-1 is killed when the provider has delivered and email-1 does not know yet: at version %d of %s.", d.Version, d.User)
	case <-time.After(patience):
		return fmt.Errorf("email-1 did not come to its mail %d", killedBehind)
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := t.atEnd(ctx, email, t.total(email)); err != nil {
		return err
	}
	c := t.provider.In(email)
	t.say("email-2 takes over its users, and asks again for what may not have been delivered. The provider was called %d", c.Calls)
	t.say("times, and has delivered %d mails, each once: %s.", c.Deliveries, shares(c))
	return errors.Join(expect(c.Failed, 2, "calls that failed"), expect(c.Lost, 3, "replies that were lost"),
		expect(len(c.Workers), 2, "workers that delivered"), expectAtLeast(c.Repeated, 3+1, "calls that were repeated"))
}

// delivered kills email-1 behind one of its mails, before it can take note of that.
func (t *telling) delivered(d provider.Delivery) {
	if d.Worker != "email-1" || t.provider.In(email).Workers["email-1"] < killedBehind {
		return
	}
	t.killing.Do(func() {
		t.crew["email-1"].kill()
		t.killed <- d
	})
}

// slow shows that sms hangs all the while, and that nobody else does.
func (t *telling) slow(ctx context.Context) error {
	if err := t.atEnd(ctx, push, t.total(push)-perUser); err != nil {
		return err
	}
	behind, err := t.behind(ctx, sms)
	if err != nil {
		return err
	}
	c := t.provider.In(sms)
	if c.Deliveries != 0 || len(c.Waiting) == 0 || behind == 0 {
		return fmt.Errorf("sms was to hang, and has delivered %d and is %d events behind", c.Deliveries, behind)
	}
	t.say("\nAll the while the provider of sms does not answer: 0 of %d delivered. email and push are at their ends", t.total(sms))
	t.say("all the same, push even in the same process. notifications status:")
	if err := t.command(ctx, "status"); err != nil {
		return err
	}
	t.say("Now it answers.")
	if err := t.provider.Set(provider.Fault{Channel: sms, Slow: "0s"}); err != nil {
		return err
	}
	if err := t.atEnd(ctx, sms, t.total(sms)); err != nil {
		return err
	}
	t.say("sms has delivered all %d.", t.total(sms))
	return nil
}

// refused shows the user that push cannot reach, mends that, and has it tried again.
func (t *telling) refused(ctx context.Context) error {
	for _, name := range []string{email, sms, push} {
		parked, err := t.parked(ctx, name)
		if err != nil {
			return err
		}
		if want := []string{unreachable}; name != push && len(parked) > 0 || name == push && !slices.Equal(parked, want) {
			return fmt.Errorf("%s has parked %v", name, parked)
		}
	}
	t.say("\n%s has no device, and the provider of push says that it never will deliver. So that user is parked, in push", unreachable)
	t.say("alone, and nobody else waits. notifications parked ls:")
	if err := t.command(ctx, "parked", "ls"); err != nil {
		return err
	}
	if err := t.provider.Set(provider.Fault{Channel: push, Accept: unreachable}); err != nil {
		return err
	}
	t.say("The user gets one. notifications parked retry push %s:", unreachable)
	if err := t.command(ctx, "parked", "retry", push, unreachable); err != nil {
		return err
	}
	if err := t.atEnd(ctx, push, t.total(push)); err != nil {
		return err
	}
	t.say("push has delivered all %d, those of %s from the first on.", t.total(push), unreachable)
	return nil
}

// later adds a channel when everything has long happened.
func (t *telling) later(ctx context.Context) error {
	t.say("\nA year later there is a chat. The next release has a fourth reactor, and runs beside the old processes.")
	before := make(map[string]int)
	for _, name := range []string{email, sms, push} {
		before[name] = t.provider.In(name).Deliveries
	}
	if err := t.start(ctx, "next", strings.Join(known, ",")); err != nil {
		return err
	}
	if err := t.atEnd(ctx, chat, t.total(chat)); err != nil {
		return err
	}
	for name, n := range before {
		if err := expect(t.provider.In(name).Deliveries, n, "deliveries by "+name); err != nil {
			return err
		}
	}
	t.say("chat has delivered all %d, from the first on, and the other channels none again.", t.total(chat))
	t.say("notifications projections ls of the old release, which has no code for chat:")
	return t.command(ctx, "projections", "ls")
}

// count compares what the provider has delivered with what happened, one by one.
func (t *telling) count(ctx context.Context) error {
	for _, name := range known {
		if err := t.exact(name, t.provider.Deliveries(name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"email-2", "mobile", "next"} {
		if err := t.crew[name].stop(); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
	}
	t.say("\nIn each channel every user got every notification once, in the order in which it happened:")
	countsView(t.provider.Counts()).Show(t)
	return nil
}

// exact returns an error unless a channel has delivered to each user what it should, each
// once and in order.
func (t *telling) exact(name string, done []provider.Delivery) error {
	got := make(map[string][]string)
	for _, d := range done {
		got[d.User] = append(got[d.User], d.Event)
	}
	for user, want := range t.wanted[name] {
		if !slices.Equal(got[user], want) {
			return fmt.Errorf("%s: %s got the events %v, and not %v", name, user, got[user], want)
		}
	}
	return expect(len(got), len(t.wanted[name]), "users reached by "+name)
}

// assignment is a channel, as this package asks about it.
func (t *telling) assignment(name string) (projector.Assignment, error) {
	sink, err := redissink.NewCheckpoints(t.log.Client(), redissink.CheckpointsConfig{Namespace: storyNamespace, Partitions: t.store.Partitions(), Projection: name})
	return projector.Assignment{Projection: newChannel(name, newRegistry(), nil), Sink: sink}, err
}

// behind returns how many events a channel is behind.
func (t *telling) behind(ctx context.Context, name string) (int, error) {
	a, err := t.assignment(name)
	if err != nil {
		return 0, err
	}
	lag, err := projector.MeasureLag(ctx, t.log, a)
	return lag.Events + lag.Pointers, err
}

// parked returns whom a channel has parked.
func (t *telling) parked(ctx context.Context, name string) (users []string, err error) {
	a, err := t.assignment(name)
	if err != nil {
		return nil, err
	}
	for p, err := range projector.ParkedStreams(ctx, t.log, a) {
		if err != nil {
			return nil, err
		}
		users = append(users, p.Stream.String())
	}
	return users, nil
}

// atEnd waits until a channel has delivered so many, and has nothing left to do.
func (t *telling) atEnd(ctx context.Context, name string, deliveries int) error {
	return t.until(ctx, name+" is at its end", func() error {
		if err := expect(t.provider.In(name).Deliveries, deliveries, "deliveries"); err != nil {
			return err
		}
		behind, err := t.behind(ctx, name)
		if err != nil {
			return err
		}
		return expect(behind, 0, "events and pointers to go")
	})
}

const (
	// patience bounds what is waited for; only a story that does not come true takes as long.
	patience = 30 * time.Second
	lookOver = 5 * time.Millisecond
)

// until waits until something has come true.
func (t *telling) until(ctx context.Context, what string, true func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	every := time.NewTicker(lookOver)
	defer every.Stop()
	for {
		err := true()
		if err == nil {
			return nil
		}
		for name, w := range t.crew {
			if ended := w.ended(); ended != nil {
				return fmt.Errorf("%s has ended by itself: %w", name, ended)
			}
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
	}
}

func expect(got, want int, of string) error {
	if got != want {
		return fmt.Errorf("%d %s, and not %d", got, of, want)
	}
	return nil
}

func expectAtLeast(got, least int, of string) error {
	if got < least {
		return fmt.Errorf("%d %s, and not %d or more", got, of, least)
	}
	return nil
}

// shares says how many each worker has delivered.
func shares(c provider.Counts) string {
	var each []string
	for _, name := range []string{"email-1", "email-2"} {
		each = append(each, fmt.Sprintf("%d by %s", c.Workers[name], name))
	}
	return joined(each)
}

// joined puts words together as people do.
func joined(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
