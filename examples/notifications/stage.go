package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

// stage is a namespace, a provider, and processes of this program that work there: what the
// story and the tests look at from outside.
type stage struct {
	url, namespace string
	client         *redis.Client
	store          *redisstore.Store
	log            *lease.Log
	events         *eventstore.Registry
	provider       *provider.Provider
	at             string // its URL
	crew           *story.Crew
	stop           func() // ends the provider

	// delivered, where there is one, is called with every delivery, see provider.Config.
	delivered atomic.Pointer[func(provider.Delivery)]

	// wanted has, by channel and user, the ids of the events to be delivered, in order.
	wanted map[string]map[string][]string
}

// newStage returns a stage on a Redis, with a provider that forgets what it delivers or not.
// The caller closes it.
func newStage(ctx context.Context, url, namespace string, forgetful bool) (*stage, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	options.DisableIdentity = true
	t := &stage{
		url: url, namespace: namespace, client: redis.NewClient(options), events: newRegistry(),
		crew:   story.NewCrew("notifications", url, "PROJECTORD_NAMESPACE="+namespace, "PROJECTORD_HTTP=off"),
		wanted: make(map[string]map[string][]string), stop: func() {},
	}
	t.provider = provider.New(provider.Config{Forgetful: forgetful, Delivered: func(d provider.Delivery) {
		if f := t.delivered.Load(); f != nil {
			(*f)(d)
		}
	}})
	for _, name := range known {
		t.wanted[name] = make(map[string][]string)
	}
	if err := t.open(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *stage) open(ctx context.Context) (err error) {
	if t.store, err = redisstore.Open(ctx, t.client, redisstore.Config{Namespace: t.namespace}); err != nil {
		return err
	}
	if t.log, err = lease.NewLog(t.client, lease.Config{Namespace: t.namespace, Partitions: t.store.Partitions()}); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	t.at = "http://" + listener.Addr().String()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = serveUntil(serving, listener, t.provider)
	}()
	t.stop = func() { cancel(); <-ended }
	return nil
}

// close ends the processes that are left, and then what they work with.
func (t *stage) close() {
	t.crew.Kill()
	t.stop()
	t.client.Close()
}

// happen has the nth thing happen to a user, and takes note of who wants it.
func (t *stage) happen(ctx context.Context, user, n int) error {
	id, err := happen(ctx, t.store, t.events, user, n)
	if err != nil {
		return err
	}
	stream := fmt.Sprintf("%s-%d", category, user)
	for _, name := range known {
		if update, is := happenings[n].(ProductUpdate); name != sms || is && update.Type == security {
			t.wanted[name][stream] = append(t.wanted[name][stream], id)
		}
	}
	return nil
}

// total returns how many events a channel wants delivered.
func (t *stage) total(name string) int {
	n := 0
	for _, ids := range t.wanted[name] {
		n += len(ids)
	}
	return n
}

// exact returns an error unless a channel has delivered to each user what it should, each
// once and in order.
func (t *stage) exact(name string, done []provider.Delivery) error {
	got := make(map[string][]string)
	for _, d := range done {
		got[d.User] = append(got[d.User], d.Event)
	}
	for user, want := range t.wanted[name] {
		if !slices.Equal(got[user], want) {
			return fmt.Errorf("%s: %s got the events %v, and not %v", name, user, got[user], want)
		}
	}
	return story.Expect(len(got), len(t.wanted[name]), "users reached by "+name)
}

// assignment is a channel, as this package asks about it.
func (t *stage) assignment(name string) (projector.Assignment, error) {
	sink, err := redissink.NewCheckpoints(t.log.Client(), redissink.CheckpointsConfig{Namespace: t.namespace, Partitions: t.store.Partitions(), Projection: name})
	return projector.Assignment{Projection: newChannel(name, newRegistry(), nil), Sink: sink}, err
}

// behind returns how many events a channel is behind.
func (t *stage) behind(ctx context.Context, name string) (int, error) {
	a, err := t.assignment(name)
	if err != nil {
		return 0, err
	}
	lag, err := projector.MeasureLag(ctx, t.log, a)
	return lag.Events + lag.Pointers, err
}

// parked returns whom a channel has parked.
func (t *stage) parked(ctx context.Context, name string) (users []string, err error) {
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
func (t *stage) atEnd(ctx context.Context, name string, deliveries int) error {
	return t.crew.Until(ctx, name+" is at its end", func() error {
		if err := story.Expect(t.provider.In(name).Deliveries, deliveries, "deliveries"); err != nil {
			return err
		}
		behind, err := t.behind(ctx, name)
		if err != nil {
			return err
		}
		return story.Expect(behind, 0, "events and pointers to go")
	})
}

// command runs a command of a release with those channels, and returns what it prints.
func (t *stage) command(ctx context.Context, channels string, args ...string) (string, error) {
	app, err := newApp(func(name string) string {
		return map[string]string{channelsVariable: channels, providerVariable: t.at}[name]
	})
	if err != nil {
		return "", err
	}
	var out, said bytes.Buffer
	if code := app.Run(ctx, daemon.Call{Args: args, Environ: t.crew.Environ(t.release(channels)...), In: strings.NewReader(""), Out: &out, Err: &said}); code != 0 {
		return out.String(), errors.New(strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}
