package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/projectord/projectord/internal/embedded"
)

// asProgram is set in the environment of a test process that is to be a program with a story.
const asProgram = "SHOWN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	Main("shown", func(ctx context.Context, server *embedded.Server, out io.Writer) error {
		crew := NewCrew("shown", server.URL())
		c, err := crew.Start(ctx, "member", nil, "works")
		if err != nil {
			return err
		}
		at, err := c.Says(ctx, "listens at ")
		fmt.Fprintln(out, "a member is at", at)
		if os.Getenv("SHOWN_TEST_FAILS") != "" {
			err = errors.New("it does not come true")
		}
		if os.Getenv("SHOWN_TEST_STAYS") != "" {
			select {}
		}
		return err
	})
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM)
	fmt.Println(os.Getenv("POD_NAME"), os.Args[1], os.Getenv("SHOWN_PACE"), os.Getenv("PROJECTORD_NAMESPACE"), os.Getenv("PROJECTORD_REDIS_URL"))
	switch os.Args[1] {
	case "ends":
		os.Exit(3)
	case "works":
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		fmt.Println("listens at", listener.Addr())
		<-ending
	}
	os.Exit(0)
}

// shown returns a crew of this program.
func shown(t *testing.T, variables ...string) *Crew {
	t.Helper()
	t.Setenv("SHOWN_PACE", "of the environment")
	t.Setenv("PROJECTORD_NAMESPACE", "of the environment")
	c := NewCrew("shown", "redis://of.a.story", append(variables, asProgram+"=1")...)
	t.Cleanup(c.Kill)
	return c
}

// What the environment says is said of others.
func TestEnviron(t *testing.T) {
	c := shown(t, "SHOWN_PACE=1s")
	out, err := c.Run(t.Context(), []string{"SHOWN_PACE=2s"}, "is run")
	if want := " is run 2s  redis://of.a.story\n"; err != nil || out != want {
		t.Errorf("it prints %q, %v, want %q", out, err, want)
	}
	p, err := c.Start(t.Context(), "ann", nil, "works")
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := p.Says(t.Context(), "ann works"); err != nil || rest != " 1s  redis://of.a.story" {
		t.Errorf("it says %q, %v", rest, err)
	}
}

// Who was told to end has not ended by itself, and who was not is what waiting ends with.
func TestEnds(t *testing.T) {
	c := shown(t)
	for _, name := range []string{"killed", "stopped"} {
		p, err := c.Start(t.Context(), name, nil, "works")
		if err == nil {
			_, err = p.Says(t.Context(), name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Named("killed").Kill()
	if err := c.Stop("stopped"); err != nil {
		t.Error(err)
	}
	looked := 0
	if err := c.Until(t.Context(), "it was looked twice", func() error { looked++; return AtLeast(looked, 2, "looks") }); err != nil {
		t.Error(err)
	}

	p, err := c.Start(t.Context(), "short", nil, "ends")
	if err != nil {
		t.Fatal(err)
	}
	never := func() error { return Expect(0, 1, "ends") }
	for _, err := range []error{c.Until(t.Context(), "nothing", never), func() error { _, err := p.Says(t.Context(), "something else"); return err }()} {
		if err == nil || !strings.Contains(err.Error(), "short has ended by itself: exit status 3: short ends") {
			t.Errorf("waiting for a process that has ended ends with %v", err)
		}
	}
	if rest, err := p.Says(t.Context(), "short "); err != nil || !strings.HasPrefix(rest, "ends") {
		t.Errorf("what was said before the end is %q, %v", rest, err)
	}
	if _, err := c.Run(t.Context(), nil, "ends"); err == nil || !strings.Contains(err.Error(), "ends: exit status 3") {
		t.Errorf("a command that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewCrew("shown", "").Until(ctx, "the end", never); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the end: context canceled: there are 0 ends") {
		t.Errorf("being cancelled ends with %v", err)
	}
}

// A program without arguments tells its story, and says whether that came true.
func TestTold(t *testing.T) {
	for variable, code := range map[string]int{"": 0, "SHOWN_TEST_FAILS=1": 1} {
		out, err := shown(t).Run(t.Context(), []string{variable})
		exit := new(exec.ExitError)
		if errors.As(err, &exit) != (code == 1) || code == 1 && (exit.ExitCode() != 1 || !strings.Contains(err.Error(), "shown: it does not come true")) {
			t.Errorf("with %q it ends with %v: %s", variable, err, out)
		}
	}
}

// Whoever a story has started ends with it, also if nobody can tell them.
func TestEndWithStory(t *testing.T) {
	c := shown(t)
	p, err := c.Start(t.Context(), "teller", []string{"SHOWN_TEST_STAYS=1"})
	if err != nil {
		t.Fatal(err)
	}
	at, err := p.Says(t.Context(), "a member is at ")
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := c.Until(t.Context(), "the member has ended", func() error {
		conn, err := net.Dial("tcp", at)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		if err == nil {
			conn.Close()
		}
		return fmt.Errorf("somebody answers at %s: %v", at, err)
	}); err != nil {
		t.Error(err)
	}
}
