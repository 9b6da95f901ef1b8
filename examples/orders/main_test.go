package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "ORDERS_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if err := os.Setenv(asProgram, "1"); err != nil { // for all that tests start
		panic(err)
	}
	testenv.Main(m)
}

// program is this program with arguments, and variables in its environment.
func program(t *testing.T, variables []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env = append(os.Environ(), variables...)
	return c
}

// The story checks itself. What it tells is the same each time.
func TestStory(t *testing.T) {
	t.Parallel()
	var complaints strings.Builder
	c := program(t, nil)
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, &complaints)
	}
	for _, want := range []string{
		"1 and 2 are charged", "3 is declined", "4 times out twice", "order-5  1", "1 stream of charges retried",
		"nobody had to be told to try again", "picker-1 begins with all of them", "another picker has the order: token", "All 9 are picked, each once",
		"for both it knows that key", "all of them among the first 18 of the 42", "13 are left, and not 10", "10 are left",
		"where 55 is wanted: projection fronts", "63 were charged by the bank once, and picked once.",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// serving returns the URL of a page that is kept up until the end of the test, which it ends
// as people do.
func serving(t *testing.T) (url string) {
	t.Helper()
	c := program(t, nil, "serve", "--http", "127.0.0.1:0")
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) } // when the test is over
	pipe, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(pipe); url == "" && lines.Scan(); {
		_, url, _ = strings.Cut(lines.Text(), "In a browser: ")
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, pipe)
	}()
	t.Cleanup(func() {
		<-read
		_ = c.Wait()
		if code := c.ProcessState.ExitCode(); code != 0 {
			t.Errorf("it ends with code %d", code)
		}
	})
	return strings.TrimSuffix(url, "/")
}

// serve has a page, and what the page asks for, until it is told to stop.
func TestServe(t *testing.T) {
	t.Parallel()
	url := serving(t)
	if page := string(get(t, url+"/")); !strings.Contains(page, "<title>Orders</title>") {
		t.Errorf("the page at %q is %.200s", url, page)
	}
	testenv.Wait(t, waitLong, func() error {
		var now ordersShown
		if err := json.Unmarshal(get(t, url+"/orders.json"), &now); err != nil {
			return err
		}
		if now.Error != "" || now.Counts["picking"] == 0 || len(now.Picking) == 0 {
			return fmt.Errorf("the orders are %v, %d are handed out: %s", now.Counts, len(now.Picking), now.Error)
		}
		return nil
	})
	testenv.Wait(t, waitLong, func() error {
		parked := string(get(t, url+"/api/v1/parked?projection=charges"))
		if !strings.Contains(parked, "there is no account of eve") {
			return fmt.Errorf("parked are %s", parked)
		}
		return nil
	})
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// What makes no sense is refused before anything is done.
func TestRefused(t *testing.T) {
	t.Parallel()
	redis := []string{"PROJECTORD_REDIS_URL=" + testenv.RedisURL(t), "PROJECTORD_NAMESPACE=" + testenv.Namespace(t)}
	for _, c := range []struct {
		variable, command string
		code              int
		words             string
	}{
		{"ORDERS_KEEP=0", "retention show", 2, "ORDERS_KEEP is a number"},
		{"ORDERS_IDLE=soon", "retention show", 2, "ORDERS_IDLE is a time with its unit"},
		{"ORDERS_AGE=-1h", "retention show", 2, "ORDERS_AGE is a time with its unit"},
		{"", "place 1 ann --lane urgent", 2, "--lane is high, normal or low"},
		{"", "pick --places 2", 1, "there are 3 lanes"},
		{"", "place 1 ann --cents 1", 0, "order 1 of ann is placed"},
		{"", "place 1 ann --cents 1", 0, "order 1 of ann is placed"},
		{"", "place 1 ann --cents 2", 1, "there is another order of that id"},
		{"", "streams show arrivals-web --limit 5", 0, "arrivals-web@1"},
	} {
		p := program(t, append(redis, c.variable), strings.Fields(c.command)...)
		out, _ := p.CombinedOutput()
		if code := p.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.words) || strings.Contains(string(out), "arrivals-web@2") {
			t.Errorf("%s orders %s ends with %d: %s", c.variable, c.command, code, out)
		}
	}
}
