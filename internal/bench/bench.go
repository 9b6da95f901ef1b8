package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says what to measure, and where.
type Config struct {
	// RedisURL is a Redis that stands alone. Where it is empty, a private one is started,
	// which keeps nothing on disk.
	RedisURL string
	// PostgresURL is a Postgres in which schemas can be created. Where it is empty, private
	// ones are started when a row needs them.
	PostgresURL string
	// Events is how many events there are to read, and Streams over how many streams they
	// are spread. Events is at least Streams.
	Events, Streams int
	// Only are beginnings of names of rows; empty for all.
	Only []string
	// Full adds the rows that take long: 10 M events, and a cluster.
	Full bool
	// Progress, where not nil, is told before each sample.
	Progress func(Progress)
}

// Progress is how far a run has come.
type Progress struct {
	// Round is 0 while the machine warms up, then 1 up to Rounds. Rounds is 0 as long as
	// it is not known.
	Round, Rounds int
	// Measure is what is measured next, the Nth of Of in this round.
	Measure string
	N, Of   int
	// Left is how long the rest will take, 0 where it is not known.
	Left time.Duration
}

// ConfigError says what is wrong with a [Config].
type ConfigError struct{ text string }

// Error implements error.
func (e *ConfigError) Error() string { return e.text }

func wrongConfig(format string, args ...any) error { return &ConfigError{fmt.Sprintf(format, args...)} }

// Rows returns all rows there are, as they are before anything is measured.
func Rows() (rows []Row) {
	for _, r := range catalogue() {
		rows = append(rows, unmeasured(r))
	}
	return rows
}

// names returns the names of all rows.
func names() (all []string) {
	for _, r := range catalogue() {
		all = append(all, r.name)
	}
	return all
}

// selection returns the rows that are asked for.
func (c Config) selection() (rows []*row, err error) {
	used := make([]bool, len(c.Only))
	for _, r := range catalogue() {
		wanted := len(c.Only) == 0 && (c.Full || !r.full)
		for i, only := range c.Only {
			if strings.HasPrefix(r.name, only) {
				wanted, used[i] = true, true
			}
		}
		if wanted {
			rows = append(rows, r)
		}
	}
	if i := slices.Index(used, false); i >= 0 || slices.Contains(c.Only, "") {
		only := ""
		if i >= 0 {
			only = c.Only[i]
		}
		return nil, wrongConfig("no row is called %q, nor begins so; there are %s", only, strings.Join(names(), ", "))
	}
	return rows, nil
}

// check returns an error unless the numbers make sense.
func (c Config) check() error {
	switch {
	case c.Streams < 1:
		return wrongConfig("%d streams are too few: there is one at least", c.Streams)
	case c.Events < c.Streams:
		return wrongConfig("%d events are too few for %d streams: each has one at least", c.Events, c.Streams)
	}
	if c.PostgresURL != "" {
		if _, err := pgxpool.ParseConfig(c.PostgresURL); err != nil { // which may repeat the password
			return wrongConfig("--postgres cannot be read: it is like postgres://user:password@127.0.0.1:5432/database, with special characters percent-encoded")
		}
	}
	return nil
}

// Run measures. It blocks until all is measured, something that all rows need has failed,
// or ctx ends, which is an [EndedError]; then, too, it returns what was measured in complete
// rounds, beside the error. What it left on servers that were given it has removed.
func Run(ctx context.Context, config Config) (*Report, error) {
	rows, err := config.selection()
	if err == nil {
		err = config.check()
	}
	if err != nil {
		return nil, err
	}
	l, err := newLab(ctx, config)
	if err != nil {
		return nil, err
	}
	if err = l.findPostgres(ctx, rows); err == nil {
		err = l.enoughMemory(ctx, rows)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	run := newRun(l, rows)
	err = run.rounds(ctx)
	report := run.report(context.WithoutCancel(ctx))
	return report, errors.Join(err, l.close())
}
