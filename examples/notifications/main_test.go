package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/internal/testenv"
)

// asProgram is set in the environment of a test process that is to be the program.
const asProgram = "NOTIFICATIONS_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if err := os.Setenv(asProgram, "1"); err != nil { // for all that tests start
		panic(err)
	}
	testenv.Main(m)
}

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = time.Minute

// program returns the program as a process.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), path, args...)
}

// TestStory has the story told, which checks itself.
func TestStory(t *testing.T) {
	t.Parallel()
	out, err := program(t).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"email-1 is killed when the provider has delivered",
		"has delivered 60 mails, each once",
		"the provider of sms does not answer: 0 of 24 delivered",
		"sms has delivered all 24.",
		"push@1      user-7  1",
		"push has delivered all 60, those of user-7 from the first on.",
		"chat has delivered all 60, from the first on, and the other channels none again.",
		"chat        -     -        -           1       1",
		"every user got every notification once, in the order in which it happened",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the story lacks %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

var browsed = regexp.MustCompile(`In a browser: (\S+)/`)

// TestServe has the page kept up: it is there, its counts grow, what it appends is delivered,
// its switch has SMS hang and go on, and SIGTERM ends it.
func TestServe(t *testing.T) {
	t.Parallel()
	cmd, said := program(t, "serve", "--http", "127.0.0.1:0"), new(testenv.Transcript)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var at string
	testenv.Wait(t, waitLong, func() error {
		found := browsed.FindStringSubmatch(said.String())
		if found == nil {
			return fmt.Errorf("it names no page: %s", said.String())
		}
		at = found[1]
		return nil
	})
	if page := get(t, at+"/"); !strings.Contains(page, "<title>Notifications</title>") {
		t.Errorf("the page is %s", page)
	}
	counts := func() map[string]int {
		t.Helper()
		var c counted
		if err := json.Unmarshal([]byte(get(t, at+"/"+countsFile)), &c); err != nil || c.Error != "" {
			t.Fatal(err, c.Error)
		}
		of := make(map[string]int)
		for _, one := range c.Channels {
			of[one.Channel] = one.Deliveries
			if one.Slow != "" {
				of["slow "+one.Channel] = 1
			}
		}
		return of
	}
	testenv.Wait(t, waitLong, func() error { return story.AtLeast(counts()[chat], 2, "messages of made-up traffic") })
	post(t, at+"/api/v1/streams/provider-sms/events", `{"type":"provider_slowed","data":{"slow":"1h"}}`)
	testenv.Wait(t, waitLong, func() error { return story.Expect(counts()["slow "+sms], 1, "slow channels") })
	before := counts()
	post(t, at+"/api/v1/streams/user-100/events", `{"type":"product_update","data":{"type":"security","message":"Change it."}}`)
	testenv.Wait(t, waitLong, func() error { return story.AtLeast(counts()[push], before[push]+1, "deliveries by push") })
	if now := counts()[sms]; now != before[sms] {
		t.Errorf("sms hangs, and has delivered %d, before it did %d", now, before[sms])
	}
	post(t, at+"/api/v1/streams/provider-sms/events", `{"type":"provider_slowed","data":{"slow":"0s"}}`)
	testenv.Wait(t, waitLong, func() error { return story.AtLeast(counts()[sms], before[sms]+1, "short messages") })
	// What the provider makes nothing of is parked at once.
	post(t, at+"/api/v1/streams/provider-push/events", `{"type":"provider_slowed","data":{"slow":"soon"}}`)
	testenv.Wait(t, waitLong, func() error {
		var parked struct {
			Parked []struct {
				Stream   string `json:"stream"`
				Attempts int    `json:"attempts"`
			} `json:"parked"`
		}
		said := get(t, at+"/api/v1/parked?projection=faults")
		if err := json.Unmarshal([]byte(said), &parked); err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		if len(parked.Parked) != 1 || parked.Parked[0].Stream != "provider-push" || parked.Parked[0].Attempts != 1 {
			return fmt.Errorf("parked are %s", said)
		}
		return nil
	})
	if status := get(t, at+"/api/v1/status"); !strings.Contains(status, `"projection": "chat"`) {
		t.Errorf("the status is %s", status)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("%v: %s", err, said.String())
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	return body(t, response, err)
}

func post(t *testing.T, url, text string) {
	t.Helper()
	response, err := http.Post(url, "application/json", strings.NewReader(text))
	body(t, response, err)
}

func body(t *testing.T, response *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v", response.Request.URL, response.Status, text, err)
	}
	return string(text)
}
