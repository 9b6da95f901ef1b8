package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// child is this program again, as a process of its own that runs a worker and answers HTTP.
type child struct {
	cmd *exec.Cmd
	url string
}

// startChild starts one, with variables in its environment and flags beside the usual ones,
// and returns it once it is ready. It ends with ctx at the latest.
func startChild(ctx context.Context, redisURL, name string, variables []string, flags ...string) (*child, error) {
	c, out, err := command(ctx, redisURL, append([]string{"run", "--name", name, "--ttl", "500ms", "--http", "127.0.0.1:0"}, flags...)...)
	if err != nil {
		return nil, err
	}
	c.Env = append(c.Env, variables...)
	pipe, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	answering := make(chan string, 1)
	go func() {
		defer close(answering)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			if _, rest, found := strings.Cut(lines.Text(), `msg="http is answered" address=`); found {
				address, _, _ := strings.Cut(rest, " ")
				answering <- "http://" + address
				continue
			}
			fmt.Fprintln(out, lines.Text())
		}
	}()
	w := &child{cmd: c}
	if w.url = <-answering; w.url == "" {
		return nil, fmt.Errorf("worker %s ended before it answered: %s", name, out)
	}
	return w, until(ctx, func() error {
		_, err := get(ctx, w.url+"/readyz", nil)
		return err
	})
}

// kill ends it as a crash would.
func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	_ = c.cmd.Wait() // says that it was killed
	return err
}

// runOnce runs this program until it ends by itself, and returns what it prints.
func runOnce(ctx context.Context, redisURL string, args ...string) (string, error) {
	c, complaints, err := command(ctx, redisURL, args...)
	if err != nil {
		return "", err
	}
	c.Stderr = complaints
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, complaints)
	}
	return string(out), err
}

// command is this program with arguments, on the Redis of the story: what the environment
// says is said of others. What it complains of can be read there when it has ended.
func command(ctx context.Context, redisURL string, args ...string) (*exec.Cmd, *strings.Builder, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	c := exec.CommandContext(ctx, path, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PROJECTORD_") && !strings.HasPrefix(v, "DELTAS_IDLE=") && !strings.HasPrefix(v, "DELTAS_PACE=") {
			c.Env = append(c.Env, v)
		}
	}
	c.Env = append(c.Env, "PROJECTORD_REDIS_URL="+redisURL, "DELTAS_PACE="+storyPace.String())

	return c, new(strings.Builder), nil
}

// get asks for something and returns the body of the answer.
func get(ctx context.Context, url string, header http.Header) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if header != nil {
		r.Header = header
	}
	return answered(http.DefaultClient, r)
}

func answered(client *http.Client, r *http.Request) (string, error) {
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", r.Method, r.URL, answer.Status, body)
	}
	return string(body), err
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
		if stopped := wait(ctx, 10*time.Millisecond); stopped != nil {
			return errors.Join(stopped, err)
		}
	}
}
