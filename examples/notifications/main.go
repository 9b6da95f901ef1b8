// Command notifications tells users what concerns them, by several channels at once: by
// e-mail, by short message, on their devices, and, once that exists, in a chat. Each
// channel is a reactor over the same streams.
//
//	notifications                what it is about, on an embedded server
//	notifications serve          the same kept up, with a page to play with
//	notifications run            a worker on a Redis of yours; -h lists the other commands
//
// events.go says what can happen to a user, channels.go what each channel does about it.
// Package provider is a make-believe of those who deliver. story.go is what is told without
// arguments, crew.go the processes in it, serve.go and page what is kept up, commands.go the
// commands of its own.
package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/projector/daemon"
)

const (
	// channelsVariable says which channels this version of the program has, with commas
	// between: a release of yours would have one more in its code.
	channelsVariable = "NOTIFICATIONS_CHANNELS"
	// providerVariable is the URL of the provider.
	providerVariable = "NOTIFICATIONS_PROVIDER"

	defaultProvider = "http://127.0.0.1:7091"
)

func main() {
	story.Main("notifications", tell)
	app, err := newApp(os.Getenv)
	if err == nil && os.Args[1] == "serve" {
		os.Args[1] = "dev"
		err = serve(&app)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "notifications:", err)
		os.Exit(2) // as for whatever else is configured wrongly
	}
	daemon.Main(app)
}

// newApp returns the program, as the environment has it.
func newApp(getenv func(string) string) (daemon.App, error) {
	names, err := parseChannels(getenv(channelsVariable))
	if err != nil {
		return daemon.App{}, err
	}
	to := &provider.Client{
		URL:    cmp.Or(getenv(providerVariable), defaultProvider),
		Worker: cmp.Or(getenv("POD_NAME"), fmt.Sprintf("process %d", os.Getpid())),
	}
	events := newRegistry()
	return daemon.App{
		Name: "notifications", Events: events,
		Projections: keepChannels(names, events, to), Pages: newPages(to),
		Commands: func(k *daemon.Kit) []*cobra.Command {
			return []*cobra.Command{newSend(k, events), newDeliveries(k, to), newFault(k, to), newProvider(k, to)}
		},
	}, nil
}
