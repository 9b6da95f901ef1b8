package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

func newDev(p *program) *cobra.Command {
	d := &developing{program: p, traffic: true}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try everything out, with nothing installed",
		Long: `Runs a Redis inside this process, and a worker for all projections. It prints how to reach
them, so that every other command can be tried in a second terminal. Nothing is kept: when
it ends, by Ctrl-C, all of it is gone. What is under way then has 4 seconds, unless
drain-timeout is set.

` + p.aboutDev() + `

Read models in Postgres are left out unless --postgres-url is given; what the environment or
a file says of a Postgres, as of a Redis, is said of others and left alone. Tables outlive
the events: give it an empty database, or a --namespace of its own each time.`,
		Example: fmt.Sprintf("  %[1]s dev\n  %[1]s dev --traffic=false --http 127.0.0.1:0", p.app.name()),
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	addSome(cmd.Flags(), func(s *setting) bool { return s.name == "http" })
	cmd.Flags().BoolVar(&d.traffic, "traffic", true, "append events that are made up, where the program has some")
	return cmd
}

// developing is one run of the command.
type developing struct {
	*program
	traffic bool
	left    []string // projections that are left out
}

// devView is how to reach what runs.
type devView struct {
	About    string `json:"about,omitempty"`
	RedisURL string `json:"redis_url"`
	// Namespace is named where it is not the usual one.
	Namespace string `json:"namespace,omitempty"`
	// HTTP is the URL it is answered at; empty where it is off.
	HTTP string `json:"http,omitempty"`
	// Page is the URL of the program's page; empty where it has none.
	Page string `json:"page,omitempty"`
	// Projections are worked on, Left are left out, as no Postgres is named.
	Projections []string `json:"projections"`
	Left        []string `json:"left_out"`
	// Try are commands worth trying.
	Try []Example `json:"try"`
}

func (v devView) show(p *page) {
	if v.About != "" {
		p.line("%s", v.About)
	}
	p.line("Projections: %s.", strings.Join(v.Projections, ", "))
	p.line("All of it runs in this process, with a Redis of its own: Ctrl-C ends it, and nothing is kept.")
	for _, name := range v.Left {
		p.line("%s is left out: it is kept in Postgres, and --postgres-url names none.", name)
	}
	if v.Page != "" {
		p.line("\nIn a browser: %s", v.Page)
	}
	p.line("\nIn a second terminal:\n")
	p.line("  export %s=%s", env("redis-url"), v.RedisURL)
	if v.Namespace != "" {
		p.line("  export %s=%s", env("namespace"), v.Namespace)
	}
	p.line("")
	var rows [][]string
	for _, try := range v.Try {
		rows = append(rows, []string{"  " + try.Command, try.Does})
	}
	p.columns(rows)
}

func (d *developing) run(ctx context.Context) error {
	if from := d.from["redis-url"]; strings.HasPrefix(from, "--") {
		return usage("%s: dev has a Redis of its own; run works with another", from)
	}
	if dev := d.app.Dev; dev != nil && dev.RetentionEvery != 0 && dev.RetentionEvery < time.Second {
		return usage("Dev.RetentionEvery of %s is %s: it is a second or more, or 0 for never", d.app.name(), dev.RetentionEvery)
	}
	server, err := embedded.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	p, c := *d.program, *d.config
	p.config, d.program = &c, &p
	p.app = p.app.forDev()
	// Whatever the environment says of a Redis is said of another one.
	c.RedisURL, c.RedisUsername, c.RedisPassword, c.RedisCAFile, c.RedisCertFile, c.RedisKeyFile = server.URL(), "", "", "", "", ""
	// Nor may a Postgres of theirs be written to: the namespace would be that of real events.
	if !strings.HasPrefix(c.from["postgres-url"], "--") {
		c.PostgresURL, c.PostgresPassword = "", ""
	}
	c.RetentionEvery = 0 // for rules of a program on its own events
	if p.app.Dev != nil {
		c.RetentionEvery = p.app.Dev.RetentionEvery
	}
	if c.from["name"] == "default" {
		c.Name = "dev"
	}
	if c.from["log-level"] == "default" {
		c.LogLevel = "warn" // what is there to say is printed
	}
	if c.from["drain-timeout"] == "default" {
		c.DrainTimeout = projector.DefaultDrainTimeout // nobody is there to take over what is cut off
	}
	told := make(chan struct{})
	untold := context.AfterFunc(ctx, func() {
		defer close(told)
		fmt.Fprintf(d.err, "stopping: what is under way has up to %s; Ctrl-C again ends it at once\n", c.DrainTimeout)
	})
	defer func() {
		if !untold() {
			<-told
		}
	}()
	r := &running{program: &p, assign: d.assign, beside: d.beside}
	return r.run(ctx)
}

// assign returns the projections that can be kept with what is there.
func (d *developing) assign(ctx context.Context, s *space) ([]projector.Assignment, error) {
	var all []projector.Assignment
	for _, p := range s.app.Projections {
		a, err := s.assignment(ctx, p.projection.Name())
		switch {
		case errors.Is(err, errNoPostgres):
			d.left = append(d.left, p.projection.Name())
		case err != nil:
			return nil, err
		default:
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil, usage("all projections are kept in Postgres, and dev is given none: --postgres-url says which")
	}
	return all, nil
}

// beside says how everything is reached, and begins the traffic.
func (d *developing) beside(ctx context.Context, s *space, at *server) (end func(), err error) {
	if err := redisx.Retry(ctx, func() error {
		return s.client.HSet(ctx, keyspace.Meta(s.Namespace), keyspace.MetaDev, s.app.name()).Err()
	}); err != nil {
		return nil, err
	}
	if err := d.print(d.view(s, at)); err != nil {
		return nil, err
	}
	if !d.traffic || s.app.Dev == nil || s.app.Dev.Traffic == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var traffic sync.WaitGroup
	traffic.Go(func() {
		if err := s.app.Dev.Traffic(ctx, s.backends); err != nil && ctx.Err() == nil {
			fmt.Fprintf(d.err, "no more events are made up: %v\n", err)
		}
	})
	return func() { cancel(); traffic.Wait() }, nil
}

// view returns how everything is reached.
func (d *developing) view(s *space, at *server) devView {
	v := devView{RedisURL: d.RedisURL, Projections: []string{}, Left: append([]string{}, d.left...)}
	if d.Namespace != keyspace.DefaultNamespace {
		v.Namespace = d.Namespace
	}
	for _, p := range s.app.Projections {
		if name := p.projection.Name(); !slices.Contains(d.left, name) {
			v.Projections = append(v.Projections, name)
		}
	}
	try := []Example{{"status --watch", "how the projections and their workers stand"}, {"streams ls", "which streams there are"}}
	if dev := s.app.Dev; dev != nil {
		v.About = dev.About
		if dev.Try != nil {
			try = dev.Try
		}
	}
	for _, t := range try {
		v.Try = append(v.Try, Example{called(d.app.name()) + " " + t.Command, t.Does})
	}
	if at.listener != nil {
		v.HTTP = "http://" + at.listener.Addr().String()
		if at.hasFile("/") {
			v.Page = v.HTTP + "/"
		}
		v.Try = append(v.Try, Example{"curl " + v.HTTP + "/api/v1/status", "how all stands, by HTTP"})
	}
	return v
}

// called is how the program is called in another terminal: where go run has built it,
// nothing of its name is in the PATH.
func called(name string) string {
	built, ok := debug.ReadBuildInfo()
	if !ok {
		return name
	}
	return calledAs(name, os.Args[0], built)
}

// calledAs is that of a program with such a file.
func calledAs(name, file string, built *debug.BuildInfo) string {
	below, found := strings.CutPrefix(built.Path, built.Main.Path+"/")
	if inCache := strings.Contains(filepath.ToSlash(file), "/go-build"); !inCache || !found {
		return name
	}
	return "go run ./" + below
}

// aboutDev says what dev works with.
func (p *program) aboutDev() string {
	if p.app.Dev == nil || p.app.Dev.About == "" {
		return "The projections are those of this program, and the streams are empty at first: streams\nappend fills them."
	}
	return p.app.Dev.About
}

// forDev returns the program as it is in a namespace that dev made.
func (a App) forDev() App {
	if a.Dev != nil {
		a.Name, a.Projections, a.Events, a.Retention = a.name(), a.Dev.Projections, a.Dev.Events, a.Dev.Retention
	}
	return a
}

// fitDev has the program be what dev runs, where dev made the namespace: another process
// then knows the projections too.
func (p *program) fitDev(ctx context.Context, client redis.UniversalClient) error {
	if p.app.Dev == nil {
		return nil
	}
	key := keyspace.Meta(p.Namespace)
	var of string
	err := redisx.Retry(ctx, func() (err error) {
		of, err = client.HGet(ctx, key, keyspace.MetaDev).Result()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case err != nil:
		return fmt.Errorf("key %s: %w", key, redisx.Explain(err))
	}
	if of == p.app.name() {
		p.app = p.app.forDev()
	}
	return nil
}
