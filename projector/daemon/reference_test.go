package daemon

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the reference in docs/ anew")

// The reference is made of the table of settings, of the help of the commands, of the table
// of routes, of what doctor looks at, and of the types of what is printed.
func TestReference(t *testing.T) {
	t.Parallel()
	p := &program{app: App{Name: "projectord"}}
	for name, text := range map[string]string{
		"configuration.md": configurationReference(), "commands.md": commandsReference(p.newRoot()),
		"http.md": httpReference(unserved(t, new(transcript)).routes), "doctor.md": doctorReference(),
		"json.md": jsonReference(t),
	} {
		path := filepath.Join("../../docs/reference", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if there, err := os.ReadFile(path); err != nil || string(there) != text {
			t.Errorf("docs/reference/%s is not current (%v): go test ./projector/daemon -run TestReference -update writes it", name, err)
		}
	}
}

const madeBy = "<!-- Made by go test ./projector/daemon -run TestReference -update -->\n\n"

func configurationReference() string {
	var b strings.Builder
	b.WriteString(madeBy + `# Configuration

Every setting can be given by a flag, by a variable of the environment, or in a YAML file
that --config or PROJECTORD_CONFIG names. A flag counts before the environment, that before
the file, that before the default. The key in the file is the name of the flag. What
nobody knows is an error, also in the file and in the environment. ` + "`config print`" + ` shows
what is in force and where it comes from, ` + "`config validate`" + ` whether it can be used; neither
connects to anything.

Settings marked *secret* can be given by the name of a file that holds them: the flag, the
key and the variable with -file or _FILE behind it, such as PROJECTORD_REDIS_PASSWORD_FILE.
They are not printed; of a URL the password is not. Those without a flag would show in the
list of processes, as the password in a URL does that is given by a flag: give that apart.

`)
	for _, group := range []struct{ name, title string }{{general, "Of every command"}, {working, "Of workers"}} {
		fmt.Fprintf(&b, "## %s\n\n| key and flag | variable | value | default | |\n|---|---|---|---|---|\n", group.title)
		for _, s := range new(settings).table() {
			if s.group != group.name {
				continue
			}
			name, initial, notes := "`--"+s.name+"`", "", s.help
			if s.unflagged {
				name = "`" + s.name + "`, no flag"
			}
			if s.initial != "" {
				initial = "`" + s.initial + "`"
			}
			if s.secret {
				notes += "; *secret*"
			}
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", name, env(s.name), s.into.kind(), initial, notes)
		}
		b.WriteString("\n")
	}
	b.WriteString("## An example\n\n```yaml\nnamespace: shop\nredis-url: rediss+cluster://redis-0.internal:6379?addr=redis-1.internal:6379\nredis-password-file: /run/secrets/redis\npostgres-url: postgres://shop@db.internal:5432/shop?sslmode=verify-full\npostgres-password-file: /run/secrets/postgres\nlog-format: json\nttl: 5s\nsnapshots: postgres\n```\n")
	return b.String()
}

func commandsReference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(madeBy + "# Commands\n\nThe flags that all commands have are those of [the configuration](configuration.md), and\n`-o table|json|yaml`, the form in which a command prints; [JSON](json.md) says what is in it.\n\n## Exit codes\n\n| code | |\n|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.text)
	}
	b.WriteString("| 130, 143 | a second Ctrl-C or SIGTERM ended it at once |\n")
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Runnable() && !cmd.HasSubCommands() {
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n", strings.TrimPrefix(cmd.CommandPath(), root.Name()+" "), cmd.Short)
			if cmd.Long != "" {
				fmt.Fprintf(&b, "\n%s\n", cmd.Long)
			}
			fmt.Fprintf(&b, "\n```\n%s\n", cmd.UseLine())
			if flags := cmd.LocalFlags().FlagUsages(); flags != "" {
				fmt.Fprintf(&b, "\n%s", flags)
			}
			b.WriteString("```\n")
			if cmd.Example != "" {
				fmt.Fprintf(&b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
			}
		}
		for _, below := range cmd.Commands() {
			if below.Name() != "help" && below.Name() != "completion" {
				walk(below)
			}
		}
	}
	walk(root)
	fmt.Fprintf(&b, `
## completion

Print what has a shell complete commands, flags and arguments.

The names of projections, the words that flags take and the commands are those of the program
that prints it. Streams, workers, and projections where the program has none, are asked of the
servers that the settings name: up to 100, for a second at the most.
`+"`completion SHELL -h`"+` says how each shell is told to load it for good.

`+"```\n%[1]s completion bash|zsh|fish|powershell [--no-descriptions]\n```\n\n```sh\nsource <(%[1]s completion bash)\n```\n", root.Name())
	return b.String()
}
