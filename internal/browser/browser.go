// Package browser has tests look at pages with a Chromium that shows nothing on a screen.
// It speaks the DevTools protocol over two pipes, which takes no library.
//
// Only `make browser` asks for such tests: it names the program of the browser in
// PROJECTORD_TEST_BROWSER. Without that they are skipped.
package browser

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

// Variable names the program of the browser.
const Variable = "PROJECTORD_TEST_BROWSER"

const (
	// answerWithin is how long the browser may take for a command.
	answerWithin = 30 * time.Second
	// endWithin is how long it may take to end by itself.
	endWithin = 5 * time.Second
)

// Page is a page in a browser of its own. Its methods are for the test's goroutine: what
// fails ends the test.
type Page struct {
	testing.TB
	out     io.Writer
	session string
	number  int

	mu       sync.Mutex             // guards the rest
	waiting  map[int]chan<- message // by the numbers of commands
	mistakes []string               // that the page made
}

// message is what comes from the browser.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Params struct {
		ExceptionDetails exception `json:"exceptionDetails"`
		Entry            struct {
			Source string `json:"source"`
			Text   string `json:"text"`
		} `json:"entry"`
	} `json:"params"`
}

// exception is what a script did not catch.
type exception struct {
	Text      string `json:"text"`
	Exception struct {
		Description string `json:"description"`
	} `json:"exception"`
}

// Open starts a browser with an empty page, until the end of the test. The test is skipped
// where nobody asked for a browser, and fails where it does not start. Where the test fails,
// a picture of the page is kept, and the log says where.
func Open(t testing.TB) *Page {
	t.Helper()
	program := os.Getenv(Variable)
	if program == "" {
		t.Skip("needs a browser: make browser runs this")
	}
	dir := t.TempDir()
	args := []string{"--headless", "--remote-debugging-pipe", "--user-data-dir=" + filepath.Join(dir, "profile"),
		"--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--window-size=1000,900"}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // which refuses to work for root
	}
	var log bytes.Buffer
	cmd := exec.Command(program, append(args, "about:blank")...)
	cmd.Stderr = &log
	cmd.WaitDelay = endWithin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its processes end together
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	err = cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		t.Fatalf("%s is no browser that starts: %v", Variable, err)
	}
	p := &Page{TB: t, out: in, waiting: make(map[int]chan<- message)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.receive(out)
		_ = cmd.Wait() // it is told to end, or the test fails for another reason
	}()
	t.Cleanup(func() {
		p.picture()
		p.session = ""
		_, _ = p.call("Browser.close", nil)
		in.Close()
		select {
		case <-ended:
		case <-time.After(endWithin):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // there may be nothing left of it
		<-ended
		out.Close()
		if t.Failed() {
			t.Logf("the browser says: %.1000s", &log)
		}
	})
	var target struct{ TargetID string }
	p.must("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	p.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	for _, domain := range []string{"Runtime", "Log", "Page"} {
		p.must(domain+".enable", nil, nil)
	}
	return p
}

// receive takes what comes from the browser until it ends.
func (p *Page) receive(from io.Reader) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			continue
		}
		p.mu.Lock()
		switch {
		case p.waiting[m.ID] != nil:
			p.waiting[m.ID] <- m
			delete(p.waiting, m.ID)
		case m.Method == "Runtime.exceptionThrown":
			p.mistakes = append(p.mistakes, m.Params.ExceptionDetails.String())
		case m.Method == "Log.entryAdded" && m.Params.Entry.Source == "security":
			p.mistakes = append(p.mistakes, m.Params.Entry.Text)
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.waiting {
		close(c)
	}
	p.waiting = nil
}

func (e exception) String() string { return strings.TrimSpace(e.Text + " " + e.Exception.Description) }

// call sends a command and waits for its result.
func (p *Page) call(method string, params map[string]any) (json.RawMessage, error) {
	p.number++
	command := map[string]any{"id": p.number, "method": method}
	if params != nil {
		command["params"] = params
	}
	if p.session != "" {
		command["sessionId"] = p.session
	}
	text, err := json.Marshal(command)
	if err != nil {
		return nil, err
	}
	answer := make(chan message, 1)
	p.mu.Lock()
	if p.waiting == nil {
		p.mu.Unlock()
		return nil, errors.New("the browser has ended")
	}
	p.waiting[p.number] = answer
	p.mu.Unlock()
	if _, err := p.out.Write(append(text, 0)); err != nil {
		return nil, err
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return nil, errors.New("the browser has ended")
		case m.Error != nil:
			return nil, errors.New(m.Error.Message)
		}
		return m.Result, nil
	case <-time.After(answerWithin):
		return nil, fmt.Errorf("no answer within %s", answerWithin)
	}
}

func (p *Page) must(method string, params map[string]any, result any) {
	p.Helper()
	text, err := p.call(method, params)
	if err == nil && result != nil {
		err = json.Unmarshal(text, result)
	}
	if err != nil {
		p.Fatalf("%s: %v", method, err)
	}
}

// Go opens a URL. The page need not be complete when it returns.
func (p *Page) Go(url string) {
	p.Helper()
	var opened struct{ ErrorText string }
	p.must("Page.navigate", map[string]any{"url": url}, &opened)
	if opened.ErrorText != "" {
		p.Fatalf("%s: %s", url, opened.ErrorText)
	}
}

// Reload has the page begin anew.
func (p *Page) Reload() {
	p.Helper()
	p.must("Page.reload", nil, nil)
}

// Eval returns what a JavaScript expression comes to in the page, of which into, where not
// nil, is a pointer to the type. A promise is waited for.
func (p *Page) Eval(expression string, into any) {
	p.Helper()
	if err := p.eval(expression, into); err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
}

func (p *Page) eval(expression string, into any) error {
	text, err := p.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true})
	if err != nil {
		return err
	}
	var result struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *exception
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return err
	}
	if result.ExceptionDetails != nil {
		return errors.New(result.ExceptionDetails.String())
	}
	if into == nil || len(result.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(result.Result.Value, into)
}

// Wait waits until an expression is true in the page, which may be begun anew meanwhile.
func (p *Page) Wait(within time.Duration, expression string) {
	p.Helper()
	testenv.Wait(p, within, func() error {
		holds := false
		err := p.eval("!!("+expression+")", &holds)
		if err == nil && !holds {
			err = fmt.Errorf("not so: %s", expression)
		}
		return err
	})
}

// Mistakes returns what scripts of the page did not catch, and what its policy forbade.
func (p *Page) Mistakes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.mistakes...)
}

// picture keeps a picture of the page where the test has failed.
func (p *Page) picture() {
	if !p.Failed() {
		return
	}
	text, err := p.call("Page.captureScreenshot", nil)
	var picture struct{ Data string }
	if err == nil {
		err = json.Unmarshal(text, &picture)
	}
	var png []byte
	if err == nil {
		png, err = base64.StdEncoding.DecodeString(picture.Data)
	}
	var dir string
	if err == nil {
		dir, err = os.MkdirTemp("", "projectord-browser-")
	}
	path := filepath.Join(dir, "page.png")
	if err == nil {
		err = os.WriteFile(path, png, 0o600)
	}
	if err != nil {
		p.Logf("there is no picture of the page: %v", err)
		return
	}
	p.Logf("what the page looks like is in %s", path)
}
