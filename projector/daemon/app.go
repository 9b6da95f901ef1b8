package daemon

import (
	"context"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/adopt"
)

// App is a program with projections of its own. All of it is optional; without
// projections the program operates those of others.
type App struct {
	// Name is what the program is called. Defaults to the name of its file.
	Name string
	// Version is what its version command says. Defaults to what the Go toolchain
	// put into the program.
	Version string
	// Projections are what its workers work on, each of another name: all those of the
	// namespace, or retention finds some it does not know and removes nothing.
	Projections []Projection
	// Events, where not nil, are those that streams append takes: it refuses events
	// that these could not decode.
	Events *eventstore.Registry
	// Retention, where not nil, says by category which events are wanted, see
	// [projector.Retention]. It is called when the command retention or the setting
	// retention-every asks for it.
	Retention func(ctx context.Context, b *Backends) (map[string]projector.Rule, error)
	// Adopt, where not nil, says which streams that other programs write are adopted, see
	// [adopt.Source]. The commands run and dev adopt them beside their workers, one process
	// of the namespace a source at a time. Clients of sources are the program's to close.
	Adopt func(ctx context.Context, b *Backends) ([]adopt.Source, error)
	// Commands, where not nil, returns commands of the program's own, of other names than
	// those every program has, and each of another: else all the program does is to say so,
	// with code 2. It is called once, before any of them runs.
	Commands func(*Kit) []*cobra.Command
	// Pages, where not nil, are files that the HTTP of run and dev answers browsers with,
	// each at its name, and index.html at /. They are opened anew for every request, and
	// answered as they are read. One that Stat says is there and Open that it is not is made
	// for every request by ReadFile, see [fs.ReadFileFS]. None may be where the daemon itself
	// answers: api, debug, healthz, readyz and metrics. They are shown without the token of
	// the setting http-token, and so are not secret; what a page asks the API for takes it. A
	// page may have scripts and styles in it, and a browser lets it ask nobody but this daemon.
	// For a directory take [os.Root.FS]: [os.DirFS] shows what symbolic links lead to out of
	// it, and either shows files whose names begin with a dot. A file that is made when it is
	// asked for, by [fs.ReadFileFS], is one that Open does not have, and stays small.
	Pages fs.FS
	// Dev, where not nil, says what the command dev works with, in place of the above.
	// Without it that works with what the program has.
	Dev *Dev
}

// Dev is what the command dev works with. The other commands of the program take it for
// their own too, in a namespace that dev made.
type Dev struct {
	Projections []Projection
	Events      *eventstore.Registry
	// About says in a line or two what it is.
	About string
	// Traffic, where not nil, appends events until ctx ends or there are enough. What it
	// returns is logged.
	Traffic func(ctx context.Context, b *Backends) error
	// Retention is as that of App, which does not count there. RetentionEvery is how often
	// dev has it applied, a second at the least; 0 for never.
	Retention      func(ctx context.Context, b *Backends) (map[string]projector.Rule, error)
	RetentionEvery time.Duration
	// Try are commands worth trying. Defaults to some that fit all programs.
	Try []Example
}

// Example is a command, without the name of the program, and what it does.
type Example struct {
	Command string `json:"command"`
	Does    string `json:"does"`
}

// Projection is a projection and where its read model is kept. [Keep] makes one.
type Projection struct {
	projection projector.Projection
	sink       SinkFunc
	whereGiven bool
}

// Keep says where the read model of a projection is kept: by [InHashes], [InTable],
// [InRows], [InRowHashes], [Nowhere], or a function of the program's own.
func Keep(p projector.Projection, sink SinkFunc) Projection {
	return Projection{projection: p, sink: sink}
}

// WhereGiven returns the same projection, to be left out, and logged to be, where it is
// kept in Postgres and none is named. Other programs of the namespace may have one: what
// the projection needs still counts, so retention removes nothing where it has run and
// its Postgres is not named.
func (p Projection) WhereGiven() Projection {
	p.whereGiven = true
	return p
}

// Call is how a program is called.
type Call struct {
	Args    []string // behind its name
	Environ []string // as of [os.Environ]
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
}

// Run runs the program and returns its exit code, when it has ended by itself or because
// ctx has. Signals, arguments and the standard streams of the process are [Main]'s.
//
// Some of what it uses is the process's all the same, so that a process runs one program
// with traces at a time. With the setting traces it sets the logger and the error handler
// of OpenTelemetry, and the exporter reads the OTEL_ variables of the process: those of
// Environ have to be the same, as headers to be kept from the log are found there. Where
// Environ has a NOTIFY_SOCKET, systemd is told at the one of the process, as its
// WATCHDOG_ variables say.
func (a App) Run(ctx context.Context, c Call) int {
	return (&program{app: a, in: c.In, out: c.Out, err: c.Err, environ: c.Environ}).run(ctx, c.Args)
}

// Main runs the program, with the arguments and the environment of the process, and
// ends it; it does not return. The exit codes are listed by the help of the program.
//
// The first SIGINT or SIGTERM has the program stop at the next safe place, a second one
// ends it at once.
func Main(app App) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// From the first signal on they do again what they do by default.
	context.AfterFunc(ctx, stop)
	// What the client logs comes back as errors, which say more.
	logging.Disable()
	os.Exit(app.Run(ctx, Call{Args: os.Args[1:], Environ: os.Environ(), In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// distinct returns an error unless each projection has a name of its own.
func (p *program) distinct() error {
	lists := [][]Projection{p.app.Projections}
	if p.app.Dev != nil {
		lists = append(lists, p.app.Dev.Projections)
	}
	for _, projections := range lists {
		seen := make(map[string]bool)
		for _, d := range projections {
			name := d.projection.Name()
			if seen[name] {
				return usage("the program has two projections %q: give one of them another name", name)
			}
			seen[name] = true
		}
	}
	return nil
}

// getenv returns a variable of the environment that the program is called with, or "".
func (p *program) getenv(name string) string {
	for _, variable := range p.environ {
		if key, text, _ := strings.Cut(variable, "="); key == name {
			return text
		}
	}
	return ""
}

// name returns what the program is called.
func (a App) name() string {
	if a.Name != "" {
		return a.Name
	}
	return filepath.Base(os.Args[0])
}
