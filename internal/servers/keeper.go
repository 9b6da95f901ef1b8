package servers

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed keeper.sh
var keeperScript string

// startWithin bounds how long a server may take until it answers.
const startWithin = 30 * time.Second

// keepers are the running keepers of this process, for CloseAll to close.
var keepers struct {
	sync.Mutex
	running map[*keeper]bool
}

// A keeper is a shell process that owns one server and its directory, and
// removes both as soon as this process lets go of it, even by being killed.
// The parent-death signal of Linux would do less, and only there.
type keeper struct {
	dir string // the server's log and data are in it

	mu      sync.Mutex // protects the dialogue with the shell, and all below
	cmd     *exec.Cmd
	input   io.WriteCloser
	answers *bufio.Reader
	pid     int  // of the last server started
	running bool // no one has waited for it yet
}

// newKeeper starts a keeper with an empty directory. It stops its server with
// the named signal. With a credential, everything runs as that user.
func newKeeper(signal string, as *syscall.Credential) (*keeper, error) {
	dir, err := makeDir(as)
	if err != nil {
		return nil, err
	}
	k := &keeper{dir: dir}
	k.cmd = exec.Command("/bin/sh", "-c", keeperScript, "keeper", dir, signal)
	k.cmd.Dir = dir
	// The environment of the developer must not configure the servers.
	k.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	// In a process group of its own, the keeper does not get the interrupt from
	// the keyboard that ends the process, and lives to clean up.
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as}
	output, err := k.open()
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("servers: failed to start a keeper: %w", err)
	}
	k.answers = bufio.NewReader(output)

	keepers.Lock()
	defer keepers.Unlock()
	if keepers.running == nil {
		keepers.running = make(map[*keeper]bool)
	}
	keepers.running[k] = true
	return k, nil
}

func (k *keeper) open() (output io.Reader, err error) {
	if k.input, err = k.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if output, err = k.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return output, k.cmd.Start()
}

// makeDir creates a directory that the given user owns and can reach.
func makeDir(as *syscall.Credential) (string, error) {
	parent := ""
	if as != nil {
		// $TMPDIR may lie inside a directory that is closed to other users.
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "projectord-server-")
	if err != nil {
		return "", err
	}
	if as != nil {
		err = os.Chown(dir, int(as.Uid), int(as.Gid))
	}
	return dir, err
}

// ask sends the keeper one line and returns the number it answers.
func (k *keeper) ask(line string) (int, error) {
	if _, err := io.WriteString(k.input, line+"\n"); err != nil {
		return 0, err
	}
	answer, err := k.answers.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(answer))
}

// logWords are what the log of a server says when it is ready and when it gives up.
type logWords struct{ ready, failed *regexp.Regexp }

// start runs a server and waits until its log says that it is ready. The log of
// this very process tells more than a connection, which some other server that
// was faster to take the port might accept.
func (k *keeper) start(words logWords, command ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := len(k.log())
	if err := k.run(command...); err != nil {
		return err
	}
	return Poll(startWithin, func() error {
		log := k.log()[before:]
		if words.ready.MatchString(log) {
			return nil
		}
		err := fmt.Errorf("servers: %s is not ready, its log says:\n%s", command[0], log)
		if words.failed.MatchString(log) {
			return final{err}
		}
		return err
	})
}

// run starts a program in the background.
func (k *keeper) run(command ...string) error {
	line := "exec"
	for _, word := range command {
		line += " '" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	pid, err := k.ask(line)
	if err != nil {
		return fmt.Errorf("servers: the keeper of %s is gone: %w", command[0], err)
	}
	k.pid, k.running = pid, true
	return nil
}

// finish runs a program to its end. It must succeed.
func (k *keeper) finish(command ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.run(command...); err != nil {
		return err
	}
	if status, err := k.wait(); err != nil || status != 0 {
		return fmt.Errorf("servers: %s failed (status %d, %v), its log says:\n%s", command[0], status, err, k.log())
	}
	return nil
}

// wait waits until the program has ended and returns its exit status.
func (k *keeper) wait() (int, error) {
	status, err := k.ask("wait")
	k.running = false
	return status, err
}

// signal sends the server a signal, and does nothing if it is not running. The
// keeper is its parent and has not waited for it, so the pid is still its own.
func (k *keeper) signal(signal syscall.Signal) error {
	if !k.running {
		return nil
	}
	return syscall.Kill(k.pid, signal)
}

// kill ends the server at once and waits until it is gone. The directory stays.
func (k *keeper) kill() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.running {
		return nil
	}
	if err := k.signal(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := k.wait()
	return err
}

// close stops the server, removes the directory and waits until that is done.
func (k *keeper) close() {
	keepers.Lock()
	delete(keepers.running, k)
	keepers.Unlock()

	k.mu.Lock()
	defer k.mu.Unlock()
	k.input.Close()
	k.cmd.Wait()
	k.running = false
}

// log returns all the servers of this keeper have written so far.
func (k *keeper) log() string {
	text, _ := os.ReadFile(filepath.Join(k.dir, "log"))
	return string(text)
}

// CloseAll stops every server this process still has, and removes what they left.
func CloseAll() {
	keepers.Lock()
	running := keepers.running
	keepers.running = nil
	keepers.Unlock()

	var group sync.WaitGroup
	for k := range running {
		group.Go(k.close)
	}
	group.Wait()
}
