package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
)

func newReady(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ready",
		Short: "Ask the worker on this machine whether it is ready",
		Long: `Asks /readyz of the run on this machine, at the address of --http, for health checks where
there is no other client of HTTP, as in a container. It connects to nothing else.

It ends with code 0 where the worker is ready, with 3 where it is not, such as while a
server is out of reach or it drains, and with 1 where nobody answers within
--connect-timeout.`,
		Example: fmt.Sprintf("  %[1]s ready\n  %[1]s ready --http 127.0.0.1:7070 --connect-timeout 2s", p.app.name()),
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.ready(cmd.Context()) },
	}
	addSome(cmd.Flags(), func(s *setting) bool { return s.name == "http" })
	return cmd
}

// maxReady bounds how much of an answer is read.
const maxReady = 1 << 20

// ready asks the daemon on this machine, and prints what it says.
func (p *program) ready(ctx context.Context) error {
	host, port, err := net.SplitHostPort(p.HTTP)
	if err != nil || port == "0" {
		return usage("%s: %s is no address that can be asked", p.where("http"), p.HTTP)
	}
	// Who listens on all addresses is reached at the loopback.
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, p.ConnectTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return usage("%s: %w", p.where("http"), err)
	}
	// Of its own: no proxy of the environment stands between, and nothing is kept open.
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return fail(exitFailed, "no worker answers at %s (%s): %w", p.HTTP, p.where("http"), err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxReady))
	if err != nil {
		return fmt.Errorf("the answer of %s: %w", p.HTTP, err)
	}
	var v readyView
	if err := json.Unmarshal(body, &v); err != nil || v.Reasons == nil {
		return fmt.Errorf("who answers at %s with status %d is no worker: %s names its address", p.HTTP, answer.StatusCode, p.where("http"))
	}
	if err := p.print(v); err != nil {
		return err
	}
	if !v.Ready {
		return fail(exitWrong, "the worker at %s is not ready", p.HTTP)
	}
	return nil
}

func (v readyView) show(p *page) {
	if v.Ready {
		p.line("the worker is ready")
	}
	for _, r := range v.Reasons {
		of := ""
		if r.Projection != "" {
			of = strings.TrimSuffix(fmt.Sprintf(" %s@%d", r.Projection, r.Generation), "@0")
		}
		p.line("%s%s: %s", r.Reason, of, r.Message)
	}
}
