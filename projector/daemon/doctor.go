package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// severity says how much a finding matters.
type severity string

const (
	// isError is what loses events, stops work, or shows readers something wrong.
	isError severity = "error"
	// isWarning works now, and will not for ever.
	isWarning severity = "warning"
	// isInfo is good to know.
	isInfo severity = "info"
)

// weight orders severities, the worst first.
func (s severity) weight() int {
	switch s {
	case isError:
		return 0
	case isWarning:
		return 1
	}
	return 2
}

// finding is something that a check has found.
type finding struct {
	Severity severity `json:"severity"`
	// Check is the name of the check, which does not change from version to version.
	Check string `json:"check"`
	// Subject is what it is about: a server, a group, a table, a file.
	Subject string `json:"subject"`
	Finding string `json:"finding"`
	// Evidence is what was measured, and Fix the exact thing to do.
	Evidence string `json:"evidence,omitempty"`
	Fix      string `json:"fix,omitempty"`
}

// need is what a check looks at, which others have found to be there.
type need int

const (
	needsNothing need = iota
	namesPostgres
	needsRedis
	needsPostgres
	needsNamespace
	needsCount
)

// check is one thing that doctor looks at.
type check struct {
	name  string
	needs need
	// waits says that it looks a second time after a while.
	waits bool
	// worst is the worst that it finds.
	worst severity
	// looks is what it looks at, and fix what is done about it in general.
	looks, fix string
	// run returns what it found. An error says that it could not look.
	run func(context.Context, *patient) ([]finding, error)
}

// checks returns all that doctor looks at, in the order in which it lists them.
func checks() []check {
	var all []check
	for _, some := range [][]check{redisChecks, memoryChecks, workChecks, postgresChecks, settingsChecks} {
		all = append(all, some...)
	}
	return all
}

func newDoctor(p *program) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with Redis, Postgres, the work and the settings",
		Long: `Looks at the servers, at the work in the namespace and at the settings, and tells what is
wrong, the worst first: what was found, what was measured, and the exact thing to do.

  error    events can get lost, work stands still, or readers see something wrong
  warning  it works now, and will not for ever
  info     good to know: such as what the persistence in force survives

It only looks. It writes nothing to Redis or Postgres, it never walks all keys, and what it
reads of streams and tables is a sample of bounded size, so that it does no harm to a
server under load. Each check has --connect-timeout for its own, and one that hangs does
not keep the others from being made. What could not be looked at, because a command is
forbidden or a server is away, is said too. A namespace that does not exist yet is no
fault: the servers are looked at all the same.

Without --postgres-url nothing is looked at there. With --all it lists also the checks that
found nothing, and those that were not made. docs/reference/doctor.md says what each
looks at.

It ends with code 0 where there is no error, whatever warnings there are, with 3 where
there is one, and with 6 where Redis is out of reach.`,
		Example: fmt.Sprintf(`  %[1]s doctor
  %[1]s doctor --all --postgres-url postgres://shop@db.internal/shop
  %[1]s doctor -o json | jq -r '.findings[] | select(.severity == "error") | .fix'`, p.app.name()),
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file := ""
			if flag := cmd.Flags().Lookup(configSetting); flag != nil && flag.Changed {
				file = flag.Value.String()
			}
			return p.doctor(cmd.Context(), file, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list also what was found in order, and what was not looked at")
	return cmd
}

// doctor looks at everything and prints what it found. The file is that of --config.
func (p *program) doctor(ctx context.Context, file string, all bool) error {
	patient, err := newPatient(ctx, p, file)
	if err != nil {
		return err
	}
	defer patient.close()
	v := diagnose(ctx, patient, checks())
	if err := ctx.Err(); err != nil {
		return err
	}
	if !all {
		v.Passed = nil
	}
	v.all = all
	if err := p.print(v); err != nil {
		return err
	}
	switch {
	case patient.away:
		return fail(exitUnavailable, "Redis is out of reach")
	case v.Errors > 0:
		return fail(exitWrong, "%s found: what to do stands with each", many(v.Errors, "error"))
	}
	return nil
}

// doctorView is what was found.
type doctorView struct {
	Namespace string `json:"namespace"`
	// Healthy says that there are neither errors nor warnings.
	Healthy bool `json:"healthy"`
	// Checks is how many were made.
	Checks   int       `json:"checks"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Findings []finding `json:"findings"`
	// NotMade are the checks for which something is missing that they look at.
	NotMade []notMadeView `json:"not_made"`
	Passed  []passedView  `json:"passed,omitempty"` // with --all
	all     bool
}

type notMadeView struct {
	Check string `json:"check"`
	Why   string `json:"why"`
}

type passedView struct {
	Check string `json:"check"`
	Looks string `json:"looks_at"`
}

func (v doctorView) show(p *page) {
	for _, f := range v.Findings {
		p.line("%-7s  %s: %s: %s", strings.ToUpper(string(f.Severity)), f.Check, f.Subject, f.Finding)
		aside(p, "seen", f.Evidence)
		aside(p, "fix", f.Fix)
	}
	if v.all {
		var rows [][]string
		for _, c := range v.Passed {
			rows = append(rows, []string{"in order", c.Check, c.Looks})
		}
		for _, c := range v.NotMade {
			rows = append(rows, []string{"not made", c.Check, c.Why})
		}
		p.table([]string{"RESULT", "CHECK", "LOOKS AT"}, rows)
	}
	end := ""
	if v.Healthy {
		end = ": nothing is wrong"
	}
	if n := len(v.NotMade); n > 0 {
		var whys []string
		for _, c := range v.NotMade {
			if len(whys) == 0 || whys[len(whys)-1] != c.Why {
				whys = append(whys, c.Why)
			}
		}
		end += fmt.Sprintf(" (%d more not made: %s)", n, strings.Join(whys, "; "))
	}
	p.line("%s, %s, %s%s", many(v.Checks, "check"), many(v.Errors, "error"), many(v.Warnings, "warning"), end)
}

// aside writes a part of a finding below it, indented.
func aside(p *page, what, text string) {
	for i, line := range strings.Split(text, "\n") {
		switch {
		case text == "":
		case i == 0:
			p.line("         %-5s %s", what+":", line)
		default:
			p.line("               %s", line)
		}
	}
}

// between is how long after the first the backlog is measured the second time.
const between = time.Second
