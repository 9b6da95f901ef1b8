package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// command is this program with arguments, on the Redis of the story: what the environment
// says is said of others.
func command(ctx context.Context, redisURL string, args ...string) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, path, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PROJECTORD_") {
			c.Env = append(c.Env, v)
		}
	}
	c.Env = append(c.Env, "PROJECTORD_REDIS_URL="+redisURL, "PROJECTORD_LOG_LEVEL=error")
	return c, nil
}

// startDaemon starts a daemon as a process of its own, which ends with ctx at the latest. kill
// ends it as a crash would.
func startDaemon(ctx context.Context, redisURL, name string) (kill func() error, err error) {
	c, err := command(ctx, redisURL, "run", "--name", name, "--ttl", "500ms", "--http", "off")
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return func() error {
		err := c.Process.Kill()
		_ = c.Wait() // says that it was killed
		return err
	}, nil
}

// runOnce runs a command until it ends, and returns what it prints.
func runOnce(ctx context.Context, redisURL string, args ...string) (string, error) {
	c, err := command(ctx, redisURL, args...)
	if err != nil {
		return "", err
	}
	var complaints strings.Builder
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, complaints.String())
	}
	return string(out), err
}

// patience bounds how long the story waits for anything.
const patience = 20 * time.Second

// until waits until something holds.
func until(ctx context.Context, holds func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
