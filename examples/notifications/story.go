package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/story"
)

const (
	storyNamespace = "notifications"
	storyUsers     = 12
	// storyEvents is how much happens to all users together, the same to each.
	storyEvents = storyUsers * perUser
	perUser     = 5
	// room is how many users a process has at a time that shares the e-mail.
	room = 4
	// killedBehind is behind how many of its mails email-1 is killed; its users have more.
	killedBehind = 12
	// unreachable is a user without a device.
	unreachable = "user-7"
)

// telling is the story while it is told.
type telling struct {
	io.Writer
	*stage
}

// tell tells what this is about, and returns an error where something did not come true.
func tell(ctx context.Context, server *embedded.Server, out io.Writer) error {
	at, err := newStage(ctx, server.URL(), storyNamespace, false)
	if err != nil {
		return err
	}
	defer at.close()
	t := &telling{out, at}
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
	for user := range storyUsers {
		for n := range perUser {
			if err := t.happen(ctx, user+1, n); err != nil {
				return err
			}
		}
	}
	t.say("\nThree reactors see all of it: email, sms and push. Which of it they deliver they decide themselves:")
	t.say("sms takes warnings about security only, %d of the %d.", t.total(sms), storyEvents)
	return nil
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
		if err := t.start(ctx, name, "", "--only", email, "--capacity", fmt.Sprint(room)); err != nil {
			return err
		}
	}
	if err := t.start(ctx, "mobile", "", "--only", sms+","+push); err != nil {
		return err
	}
	if err := t.holding(ctx, email, room, "email-1", "email-2"); err != nil {
		return err
	}
	t.say("Mails are delivered, though the provider fails 2 calls, and loses its reply to 3 others.")
	killed := t.killBehind(email, "email-1", killedBehind)
	if err := t.provider.Set(provider.Fault{Channel: email, Slow: "0s"}); err != nil {
		return err
	}
	select {
	case d := <-killed:
		t.say("email-1 is killed when the provider has delivered and email-1 does not know yet: at version %d of %s.", d.Version, d.User)
	case <-time.After(story.Patience):
		return fmt.Errorf("email-1 did not come to its mail %d", killedBehind)
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := t.atEnd(ctx, email, t.total(email)); err != nil {
		return err
	}
	c := t.provider.In(email)
	t.say("After 3 seconds email-2 takes over its users, and asks again for what may not have been delivered. The provider")
	t.say("was called %d times, and has delivered %d mails, each once: %s.", c.Calls, c.Deliveries, shares(c))
	return errors.Join(story.Expect(c.Failed, 2, "calls that failed"), story.Expect(c.Lost, 3, "replies that were lost"),
		story.Expect(len(c.Workers), 2, "workers that delivered"), story.AtLeast(c.Repeated, 3+1, "calls that were repeated"))
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
	if err := t.show(ctx, "status"); err != nil {
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
	if err := t.show(ctx, "parked", "ls"); err != nil {
		return err
	}
	if err := t.provider.Set(provider.Fault{Channel: push, Accept: unreachable}); err != nil {
		return err
	}
	t.say("The user gets one. notifications parked retry push %s:", unreachable)
	if err := t.show(ctx, "parked", "retry", push, unreachable); err != nil {
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
		if err := story.Expect(t.provider.In(name).Deliveries, n, "deliveries by "+name); err != nil {
			return err
		}
	}
	t.say("chat has delivered all %d, from the first on, and the other channels none again.", t.total(chat))
	t.say("notifications projections ls of the old release, which has no code for chat:")
	return t.show(ctx, "projections", "ls")
}

// count compares what the provider has delivered with what happened, one by one.
func (t *telling) count(ctx context.Context) error {
	for _, name := range known {
		if err := t.exact(name, t.provider.Deliveries(name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"email-2", "mobile", "next"} {
		if err := t.stopped(name); err != nil {
			return err
		}
	}
	t.say("\nIn each channel every user got every notification once, in the order in which it happened:")
	countsView(t.provider.Counts()).Show(t)
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

// show runs a command of the release with three channels, and tells what it prints.
func (t *telling) show(ctx context.Context, args ...string) error {
	said, err := t.command(ctx, "", args...)
	for line := range strings.Lines(said) {
		fmt.Fprint(t, "  ", line)
	}
	return err
}
