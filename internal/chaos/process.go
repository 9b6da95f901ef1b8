package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a worker as the harness sees it.
type process struct {
	number  int
	cmd     *exec.Cmd
	input   io.WriteCloser
	ready   chan struct{} // closed when it has a session
	answers chan report   // that it reached a point, or forgot an order
	fences  chan report   // that it was fenced or refused; some are dropped
	gone    chan struct{} // closed when it has ended and all reports were heard

	mu      sync.Mutex // protects all below
	session string     // the last one
	idle    bool       // nobody does anything to it
	ended   bool       // it was told to leave, or killed
}

// start starts a worker. What it reports goes to hear, in order.
func start(number int, j job, log io.Writer, hear func(*process, report)) (*process, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	reports, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p := &process{
		number: number, idle: true, ready: make(chan struct{}), gone: make(chan struct{}),
		answers: make(chan report, 4), fences: make(chan report, 64),
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	p.cmd.ExtraFiles = []*os.File{theirs} // becomes reportsFile
	p.cmd.Stderr = log
	// A worker leaves when its input is closed, as it is when the harness dies.
	// One that is stopped then is alone in a process group whose parent is gone,
	// which the system ends by SIGHUP and SIGCONT.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.input, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		reports.Close()
		return nil, fmt.Errorf("chaos: starting a worker: %w", err)
	}
	go func() {
		defer close(p.gone)
		defer reports.Close()
		in := bufio.NewScanner(reports)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			var r report
			if json.Unmarshal(in.Bytes(), &r) == nil { // the last line may be torn
				p.hear(r)
				hear(p, r)
			}
		}
		p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) hear(r report) {
	switch r.Kind {
	case began:
		p.mu.Lock()
		if p.session == "" {
			close(p.ready)
		}
		p.session = r.Session
		p.mu.Unlock()
	case reached, forgot:
		p.answers <- r
	case fenced, refused:
		select {
		case p.fences <- r:
		default:
		}
	}
}

// tell gives the worker an order. Where it is gone already that shows elsewhere.
func (p *process) tell(o order) {
	if line, err := json.Marshal(o); err == nil {
		p.input.Write(append(line, '\n'))
	}
}

// signal sends the worker a signal, unless it has ended.
func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.gone:
	default:
		p.cmd.Process.Signal(s)
	}
}

// take makes the worker busy. It reports false if it is, or has no session yet.
func (p *process) take() bool {
	select {
	case <-p.ready:
	default:
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.idle && !p.ended
	if was {
		p.idle = false
	}
	return was
}

func (p *process) giveBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = true
}

// end notes that the worker is going to end because it is told to.
func (p *process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}

func (p *process) isEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

func (p *process) lastSession() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// kill kills the worker and waits until it is gone. It returns when that was.
func (p *process) kill() time.Time {
	p.end()
	p.signal(syscall.SIGKILL)
	at := time.Now()
	<-p.gone
	p.input.Close()
	return at
}

// leave has the worker stop in good order, and kills it if it does not.
func (p *process) leave() {
	p.end()
	p.signal(syscall.SIGCONT)
	p.input.Close()
	select {
	case <-p.gone:
	case <-time.After(2 * leaveWithin):
		p.signal(syscall.SIGKILL)
		<-p.gone
	}
}
