package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// The channels that users are notified by. Each is a reactor over the streams of all
// users, so each sees all of their events from the first on, at its own pace; which of them
// it delivers is its own decision.
const (
	email = "email"
	sms   = "sms"
	push  = "push"
	chat  = "chat"
)

// known are all channels; programs of the time before chat have the first three.
var known = []string{email, sms, push, chat}

// parseChannels returns the channels that a program has, given their names with commas
// between; without any those it had before chat.
func parseChannels(text string) ([]string, error) {
	if text == "" {
		return []string{email, sms, push}, nil
	}
	names := strings.Split(text, ",")
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s names a channel %q: there are %s", channelsVariable, name, strings.Join(known, ", "))
		}
	}
	return names, nil
}

// newChannel returns the reactor of a channel.
func newChannel(name string, events *eventstore.Registry, to *provider.Client) projector.Projection {
	config := projector.ReactorConfig{Categories: []string{category}, Events: events}
	if name == sms {
		config.Types = []string{productUpdate} // others are passed over unread
	}
	p := projector.NewReactor(name, config)
	deliver := func(ctx context.Context, text string, r *eventstore.Recorded) error {
		return verdict(to.Deliver(ctx, provider.Delivery{
			Channel: name, Event: r.ID.String(), User: r.Stream.String(), Version: uint64(r.Version), Text: text,
		}))
	}
	if name != sms {
		projector.OnReact(p, func(ctx context.Context, e NewFollower, r *eventstore.Recorded) error {
			return deliver(ctx, e.Message, r)
		})
	}
	projector.OnReact(p, func(ctx context.Context, e ProductUpdate, r *eventstore.Recorded) error {
		if name == sms && e.Type != security {
			return nil // not worth a short message
		}
		return deliver(ctx, e.Message, r)
	})
	return p
}

// verdict says to the engine what an error of the provider means. Where it is away, or its
// reply was lost, that says nothing about the event: it is tried again until there is an
// answer. What it refuses, or makes nothing of, will be no better next time, so the stream is
// parked.
func verdict(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, provider.ErrUnavailable):
		return projector.Transient(err)
	}
	return projector.Unrecoverable(err)
}

// keepChannels returns the reactors of channels. All there is to keep is how far each has
// come with each user.
func keepChannels(names []string, events *eventstore.Registry, to *provider.Client) []daemon.Projection {
	var all []daemon.Projection
	for _, name := range names {
		all = append(all, daemon.Keep(newChannel(name, events, to), daemon.Nowhere()))
	}
	return all
}
