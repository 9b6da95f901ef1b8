package daemon

import (
	"net"

	"github.com/spf13/cobra"
)

// settingView is a setting as it is in force.
type settingView struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
	Env   string `json:"env"`
	Help  string `json:"help"`
}

// configView is all of them.
type configView []settingView

func (v configView) show(p *page) {
	var rows [][]string
	for _, s := range v {
		rows = append(rows, []string{s.Name, orDash(s.Value), s.From})
	}
	p.table([]string{"SETTING", "VALUE", "FROM"}, rows)
}

func newConfig(p *program) *cobra.Command {
	printing := &cobra.Command{
		Use:   "print",
		Short: "Print every setting, and where it comes from",
		Long: `Prints every setting as it is in force, and where it comes from: a flag, a variable of
the environment, a file, or the default. Secrets are not printed. It connects to nothing.
-o json tells the variable and the meaning of each as well.`,
		Example: "  " + p.app.name() + " config print --config /etc/projectord.yaml",
		Args:    arguments(),
		RunE: func(*cobra.Command, []string) error {
			var v configView
			for _, s := range p.table() {
				v = append(v, settingView{s.name, s.printable(), p.from[s.name], env(s.name), s.help})
			}
			return p.print(v)
		},
	}
	validate := &cobra.Command{
		Use:   "validate",
		Short: "Say whether the settings can be used",
		Long: `Reads the settings as every command does, with the files they name, and says what is
wrong with them, with code 2. It connects to nothing.`,
		Example: "  " + p.app.name() + " config validate --config /etc/projectord.yaml",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := p.redisClient(0)
			if err != nil {
				return err
			}
			client.Close()
			pool, err := p.postgresPool(cmd.Context())
			if err != nil {
				return err
			}
			if pool != nil {
				closePool(pool)
			}
			// What a name resolves to only run finds out.
			if host, _, err := net.SplitHostPort(p.HTTP); err == nil && hostname(p.HTTP) == "" {
				if err := p.exposed(net.ParseIP(host)); err != nil {
					return err
				}
			}
			for _, name := range p.Only {
				if _, ok := p.declared(name); !ok && len(p.app.Projections) > 0 {
					return p.undeclared(name)
				}
			}
			return p.print(done{Message: "the settings can be used"})
		},
	}
	for _, cmd := range []*cobra.Command{printing, validate} {
		addFlags(cmd.Flags(), working)
	}
	return holder("config", "Print or check the settings", "", printing, validate)
}
