package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/projectord/projectord/eventstore"
)

// program is one run of the program.
type program struct {
	app     App
	in      io.Reader
	out     io.Writer
	err     io.Writer
	environ []string
	unfit   error // what is wrong with app, or nil

	// These are known once a command begins.
	*config
	traces *traces   // nil where nothing is followed
	form   string    // of what is printed
	screen io.Writer // err as it was, which may be a terminal
}

// run runs the program and returns its exit code.
func (p *program) run(ctx context.Context, args []string) int {
	scrubbed := &scrubber{to: p.err}
	p.screen, p.err = p.err, scrubbed
	root := p.newRoot()
	before := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		err := before(cmd, args)
		if err == nil {
			scrubbed.hide(append(p.secrets(), headerSecrets(p.environ)...))
			err = p.startTraces(cmd.Context())
		}
		return err
	}
	defer func() { p.endTraces(ctx) }()
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	command, err := root, p.unfit
	if err == nil {
		command, err = root.ExecuteContextC(ctx)
	}
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(p.err, "%s: %v\n", p.app.name(), err)
	code := exitCode(err)
	if code == exitUsage {
		fmt.Fprintf(p.err, "%s -h tells how it is used\n", command.CommandPath())
	}
	return code
}

func (p *program) newRoot() *cobra.Command {
	name, version := p.app.name(), false
	root := &cobra.Command{
		Use:   name,
		Short: "Keep read models up to date from streams of events",
		Long: strings.TrimSpace(p.about() + `

Every setting can be given by a flag, by an environment variable or in a YAML file, see
--config. A flag counts before the environment, that before the file. The variable of
--redis-url is PROJECTORD_REDIS_URL, its key in the file redis-url; config print shows
them all and where each comes from. Passwords are best given by the name of a file:
--redis-password-file, or PROJECTORD_REDIS_PASSWORD_FILE.

Exit codes:
` + exitCodesText()),
		Example: fmt.Sprintf(`  %[1]s status
  %[1]s streams show cart-42
  %[1]s parked ls`, name),
		Args: commandWanted,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				return p.print(p.versionView())
			}
			return cmd.Help()
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Annotations[unconfigured] != "" || cmd.Parent() == nil || cmd.Parent().Name() == "completion" || strings.HasPrefix(cmd.Name(), "__") {
				p.config = new(config)
				return nil
			}
			config, err := load(cmd.Flags(), p.environ)
			p.config = config
			return err
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return p.flagError(cmd, err) })
	root.SetHelpCommand(newHelp())
	root.Flags().BoolVar(&version, "version", false, "print the version of the program")
	flags := root.PersistentFlags()
	p.form = formTable
	flags.VarP((*formFlag)(&p.form), "output", "o", "form of what is printed: table, json or yaml")
	flags.Var(&settingFlag{kind: "file"}, configSetting, "settings in YAML (default "+env(configSetting)+")")
	addFlags(flags, general)
	root.AddCommand(
		newRun(p), newDev(p), newReady(p), newStatus(p), newStreams(p), newProjections(p), newParked(p), newAdopted(p), newWorkers(p), newLogs(p),
		newWait(p), newGet(p), newAudit(p), newSnapshots(p), newRetention(p), newMigrate(p),
		newDoctor(p), newConfig(p), newVersion(p),
	)
	p.unfit = cmp.Or(p.distinct(), p.addOwn(root))
	unsorted(root)
	p.complete(root)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formTable, formJSON, formYAML}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// unsorted has the help of all commands list flags in the order they were added in,
// which keeps together what belongs together.
func unsorted(cmd *cobra.Command) {
	cmd.Flags().SortFlags, cmd.PersistentFlags().SortFlags = false, false
	for _, below := range cmd.Commands() {
		unsorted(below)
	}
}

// unconfigured annotates commands that need no settings, and so outlive wrong ones.
const unconfigured = "unconfigured"

// about says what the program is for.
func (p *program) about() string {
	if len(p.app.Projections) == 0 {
		return `Looks after the streams and projections of a namespace, whatever program they belong to.
What takes the code of the projections (run, verify, audit, promote, retention and such)
is done by the program that has it, with the same commands.`
	}
	var names []string
	for _, projection := range p.app.Projections {
		names = append(names, projection.projection.Name())
	}
	return "Keeps read models up to date from streams of events: " + strings.Join(names, ", ") + "."
}

func exitCodesText() string {
	var text strings.Builder
	for _, c := range exitCodes {
		fmt.Fprintf(&text, "  %d    %s\n", c.code, c.text)
	}
	fmt.Fprintf(&text, "  130  a second Ctrl-C ended it at once; 143 a second SIGTERM")
	return text.String()
}

// formFlag is the flag --output.
type formFlag string

func (f *formFlag) Set(text string) error { *f = formFlag(text); return checkForm(text) }
func (f *formFlag) String() string        { return string(*f) }
func (f *formFlag) Type() string          { return "form" }

func checkForm(form string) error {
	if all := []string{formTable, formJSON, formYAML}; !slices.Contains(all, form) {
		return usage("--output is %s, not %q", choice(all), form)
	}
	return nil
}

// flagError says what is wrong with a flag, and which one may have been meant.
func (p *program) flagError(cmd *cobra.Command, err error) error {
	if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) {
		return invalidFlag(invalid)
	}
	unknown, found := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !found {
		return usage("%w", err)
	}
	if s, _ := named(new(settings).table(), unknown); s != nil && s.unflagged {
		return usage("--%s would show in the list of processes: give it by --%[1]s%s, %s or the file of --config", unknown, fileSuffix, env(unknown))
	} else if s != nil {
		return usage("--%s is for run: here it changes nothing", unknown)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if name := nearest(names, unknown); name != "" {
		return usage("%w, do you mean --%s?", err, name)
	}
	return usage("%w", err)
}

// invalidFlag says what the value of a flag has to be.
func invalidFlag(err *pflag.InvalidValueError) error {
	is := map[string]string{
		"uint64": "a whole number from 0 on", "int": "a whole number", "float64": "a number",
		"duration": "a time with its unit, such as 30s", "bool": "true or false",
	}[err.GetFlag().Value.Type()]
	if own := (*failure)(nil); errors.As(err, &own) {
		return own
	}
	if is == "" {
		return usage("%w", err)
	}
	return usage("--%s is %s, not %q", err.GetFlag().Name, is, err.GetValue())
}

// commandWanted is for commands that only hold others.
func commandWanted(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
	cmd.SuggestionsMinimumDistance = 2
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		text += ", do you mean " + choice(meant) + "?"
	}
	return usage("%w", errors.New(text))
}

// holder returns a command that only holds others.
func holder(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: commandWanted,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(commands...)
	return cmd
}

// arguments demands arguments of these names; those in brackets may be left out. What is
// called STREAM has to be the name of one, and VERSION a number: that takes no server.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names) && !strings.HasPrefix(names[len(args)], "["):
			return usage("%s is missing", names[len(args)])
		case len(args) > len(names):
			return usage("%q is one argument too many", args[len(names)])
		}
		for i, arg := range args {
			var err error
			switch strings.Trim(names[i], "[]") {
			case "STREAM":
				_, err = eventstore.ParseStreamID(arg)
			case "VERSION":
				if _, failed := strconv.ParseUint(arg, 10, 64); failed != nil {
					err = usage("VERSION is a number, not %q", arg)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// newHelp is the help command, for which a command that is not there is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]...", Short: "Print the help of a command", Annotations: map[string]string{unconfigured: "true"},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err == nil {
				err = commandWanted(about, rest)
			}
			if err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
