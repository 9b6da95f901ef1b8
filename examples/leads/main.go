// Command leads makes read models of streams that other programs write by plain XADD: the
// leads of a sales team, many in one stream, and the readings of sensors, of which only the
// newest are kept. docs/guides/adopted-streams.md goes through it.
//
//	leads          what it is about, on an embedded server; ends by itself
//	leads serve    the same to look at: a page, on an embedded server, until Ctrl-C
//	leads -h       everything else, on a Redis
//
// adopt.go says what is adopted, and project.go what is made of it; story.go and index.html
// show it all.
package main

import (
	"embed"
	"os"

	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/projector/daemon"
)

//go:embed index.html
var pages embed.FS

func main() {
	story.Main("leads", tell)
	if os.Args[1] == "serve" {
		os.Args[1] = "dev"
	}
	daemon.Main(newApp())
}

func newApp() daemon.App {
	events := registry()
	projections := []daemon.Projection{
		daemon.Keep(leads(events), daemon.InHashes("lead:current")),
		daemon.Keep(rooms(events), daemon.InHashes("room:now")),
		daemon.Keep(climate(events), daemon.InRowHashes("climate")),
	}
	return daemon.App{
		Name: "leads", Projections: projections, Events: events, Adopt: sources, Pages: pages,
		Dev: &daemon.Dev{
			Projections: projections, Events: events, Traffic: traffic,
			About: `Leads and readings of sensors, which other programs write by XADD. Write some yourself:
redis-cli -u URL XADD leads '*' event_type lead.created lead_id 101 created_by shaon`,
			Try: []daemon.Example{
				{Command: "adopted ls", Does: "which streams are adopted, and how far"},
				{Command: "streams show lead-1", Does: "the events of a lead, and which entries they were made of"},
				{Command: "get leads 1", Does: "how a lead stands"},
				{Command: "get climate all", Does: "what the rooms add up to"},
			},
		},
	}
}
