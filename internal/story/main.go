// Package story is what the examples have in common that tell what they are about by
// themselves: an embedded server, processes of the same program that are started, listened
// to and killed, and conditions that are waited for, so that what is told is checked.
package story

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"github.com/projectord/projectord/internal/embedded"
)

// withStory is set in the environment of processes whose standard input ends with the story.
const withStory = "STORY_IS_STDIN"

// Main has a program tell its story where it is started without arguments, on an embedded
// server, and then ends it: with code 1 if tell returns an error. It returns where there are
// arguments. Each program that has a [Crew] calls it first: a process that was started by
// one ends with the story then, also if that is killed, and does not wait for a Redis that
// never comes back.
func Main(program string, tell func(ctx context.Context, server *embedded.Server, out io.Writer) error) {
	if os.Getenv(withStory) != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	if len(os.Args) > 1 {
		return
	}
	if err := onServer(tell); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func onServer(tell func(ctx context.Context, server *embedded.Server, out io.Writer) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logging.Disable() // what the client logs comes back as errors, which say more
	server, err := embedded.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	return tell(ctx, server, os.Stdout)
}
