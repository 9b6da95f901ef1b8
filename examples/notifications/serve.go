package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// serve has a program be what the command dev runs: all channels there are by now, and a
// provider in the same process.
func serve(app *daemon.App) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	go serveUntil(context.Background(), listener, provider.New(provider.Config{})) // as long as the process lives
	to := &provider.Client{URL: url, Worker: "dev"}
	eventstore.Register[ProviderSlowed](app.Events, "provider_slowed", 1)
	app.Pages = newPages(to)
	app.Dev = &daemon.Dev{
		Projections: append(keepChannels(known, app.Events, to), daemon.Keep(newFaults(app.Events, to), daemon.Nowhere())),
		Events:      app.Events,
		About: fmt.Sprintf("Users are notified by %s. Other terminals have to know where the provider is:\n  export %s=%s %s=%s",
			joined(known), providerVariable, url, channelsVariable, strings.Join(known, ",")),
		Traffic: func(ctx context.Context, b *daemon.Backends) error { return traffic(ctx, b.Store, app.Events) },
		Try: []daemon.Example{
			{Command: `send 7 security "Change your password."`, Does: "notifies a user"},
			{Command: "deliveries", Does: "what each channel has delivered"},
			{Command: "fault sms --slow 1h", Does: "SMS hangs (0s: no longer), and no other channel waits"},
			{Command: "fault push --refuse user-7", Does: "parks a user, in that channel alone"},
			{Command: "parked ls", Does: "who is parked, and why"},
			{Command: "status --watch", Does: "how far each channel is"},
		},
	}
	return nil
}

// ProviderSlowed is that the provider of a channel is to be slow, or no longer: the page
// can do nothing but append events, so this is one, of the stream provider-sms.
type ProviderSlowed struct {
	Slow string `msgpack:"slow"` // as in [provider.Fault]
}

// newFaults returns the reactor that has it be slow.
func newFaults(events *eventstore.Registry, to *provider.Client) projector.Projection {
	p := projector.NewReactor("faults", projector.ReactorConfig{Categories: []string{"provider"}, Events: events})
	projector.OnReact(p, func(ctx context.Context, e ProviderSlowed, r *eventstore.Recorded) error {
		return verdict(to.Set(ctx, provider.Fault{Channel: r.Stream.ID(), Slow: e.Slow}))
	})
	return p
}

const (
	// trafficEvery is how often something happens to somebody.
	trafficEvery = 400 * time.Millisecond
	// trafficUsers is how many users there are.
	trafficUsers = 9
)

// traffic has things happen to users until ctx ends.
func traffic(ctx context.Context, store eventstore.Appender, events *eventstore.Registry) error {
	every := time.NewTicker(trafficEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		if _, err := happen(ctx, store, events, 1+rand.IntN(trafficUsers), rand.IntN(len(happenings))); err != nil {
			return err
		}
	}
}

// happenings are what happens to users.
var happenings = []any{
	NewFollower{Message: "Ann follows you."},
	ProductUpdate{Type: feature, Message: "There is a dark mode now."},
	ProductUpdate{Type: security, Message: "Somebody has signed in from a new device."},
	NewFollower{Message: "Ben follows you."},
	ProductUpdate{Type: security, Message: "Change your password."},
}

// happen has the nth thing happen to a user, and returns the id of the event.
func happen(ctx context.Context, store eventstore.Appender, events *eventstore.Registry, user, n int) (id string, err error) {
	stream, err := eventstore.NewStreamID(category, fmt.Sprint(user))
	if err != nil {
		return "", err
	}
	event, err := events.Encode(happenings[n])
	if err != nil {
		return "", err
	}
	_, err = store.Append(ctx, stream, eventstore.Any, event)
	return event.ID.String(), err
}
