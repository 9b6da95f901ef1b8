// Command deltas keeps messages that come in fragments, as docs/guides/delta-streams.md
// tells: each message is a stream, each fragment an event, and what nobody writes to any
// more is removed.
//
//	deltas          what it is about, on an embedded server; ends by itself
//	deltas serve    the same to look at: a page, on an embedded server, until Ctrl-C
//	deltas -h       everything else, on a Redis
//
// message.go is what a message is, writer.go writes answers to what is asked, rules.go says
// what goes, produce.go is a producer; story.go and index.html show it all.
package main

import (
	"embed"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/projector/daemon"
)

//go:embed index.html
var pages embed.FS

func main() {
	story.Main("deltas", tell)
	app, err := newApp(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "deltas:", err)
		os.Exit(2) // as for whatever else is configured wrongly
	}
	if os.Args[1] == "serve" {
		os.Args[1] = "dev"
	}
	daemon.Main(app)
}

// newApp returns the program, as the environment has it.
func newApp(getenv func(string) string) (daemon.App, error) {
	s, err := newSettings(getenv)
	if err != nil {
		return daemon.App{}, err
	}
	events := registry()
	w := &writer{events: events, pace: s.pace}
	projections := []daemon.Projection{
		daemon.Keep(messages(events), daemon.InHashes("message:text")),
		daemon.Keep(w.reactor(), w.sink),
	}
	return daemon.App{
		Name: "deltas", Events: events, Projections: projections, Pages: pages, Retention: s.rules(s.idle),
		Commands: func(k *daemon.Kit) []*cobra.Command { return []*cobra.Command{newProduce(k, events)} },
		Dev: &daemon.Dev{
			Projections: projections, Events: events, Retention: s.rules(s.idleServed), RetentionEvery: s.everyServed(),
			About: `Messages that come in fragments. Whoever asks something gets an answer word by word, which
goes on whoever listens, and goes away once nobody writes to it any more.`,
			Traffic: w.traffic,
			Try: []daemon.Example{
				{Command: "streams ls", Does: "which messages there are"},
				{Command: `streams append message-mine --type asked --data '{"question":"why?"}'`, Does: "ask something"},
				{Command: "streams tail message-mine --from 1", Does: "follow the answer"},
				{Command: "get messages mine", Does: "the whole of it"},
				{Command: "retention show", Does: "what goes, and when"},
			},
		},
	}, nil
}
