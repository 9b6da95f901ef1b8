package daemon

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionView is what program this is.
type versionView struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (v versionView) show(p *page) {
	p.line("%s %s (%s, %s)", v.Name, v.Version, v.Go, v.Platform)
}

func newVersion(p *program) *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version of the program",
		Args:        arguments(),
		Annotations: map[string]string{unconfigured: "true"},
		RunE:        func(*cobra.Command, []string) error { return p.print(p.versionView()) },
	}
}

// versionView returns what program this is.
func (p *program) versionView() versionView {
	v := versionView{Name: p.app.name(), Version: p.app.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if built, ok := debug.ReadBuildInfo(); ok {
		if v.Version == "" {
			v.Version = built.Main.Version
		}
		for _, s := range built.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	return v
}
