package bench

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Machine is what it was measured on. Names of hosts and users are not in it.
type Machine struct {
	Cores    int    `json:"cores"`
	CPU      string `json:"cpu"`
	OS       string `json:"os"`
	Go       string `json:"go"`
	Redis    string `json:"redis"`
	Postgres string `json:"postgres"`
	// Private says of Redis and of Postgres whether it was started for this.
	Private []string `json:"private"`
	// Settings are those of the servers that matter.
	Settings map[string]string `json:"settings"`
	// Events is how many events there were to read, as many in each stream.
	Events  int `json:"events"`
	Streams int `json:"streams"`
	// Scale is what part was done of what rows say that they append, hold or weigh; 1 from
	// 200,000 events on.
	Scale float64 `json:"scale"`
	// Rounds is how many rounds were complete.
	Rounds int `json:"rounds"`
	// Ended says that it ended before all was measured.
	Ended bool `json:"ended"`
}

// machine looks around. What cannot be found out is empty.
func (l *lab) machine(ctx context.Context) Machine {
	m := Machine{
		Cores: runtime.NumCPU(), CPU: cpuModel(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Private: []string{}, Settings: make(map[string]string), Events: l.Streams * l.each(), Streams: l.Streams, Scale: l.scale(),
	}
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	if l.server != nil {
		m.Private = append(m.Private, "redis")
	}
	if info, err := l.redis.Info(ctx, "server").Result(); err == nil {
		m.Redis = field(info, "redis_version")
	}
	for _, name := range []string{"appendonly", "appendfsync", "save", "io-threads", "maxmemory"} {
		// A server that is somebody else's may refuse.
		if found, err := l.redis.ConfigGet(ctx, name).Result(); err == nil && found[name] != "" {
			m.Settings["redis "+name] = found[name]
		}
	}
	for i, p := range l.postgreses {
		if p == nil {
			continue
		}
		which := "postgres "
		if p.server != nil && i == 1 {
			which = "durable postgres "
		}
		_ = p.pool.QueryRow(ctx, "SHOW server_version").Scan(&m.Postgres)
		for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "shared_buffers"} {
			var value string
			if p.pool.QueryRow(ctx, "SHOW "+name).Scan(&value) == nil {
				m.Settings[which+name] = value
			}
		}
		if p.server != nil && !slices.Contains(m.Private, "postgres") {
			m.Private = append(m.Private, "postgres")
		}
	}
	return m
}

// field returns what a reply to INFO says about something.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name+":"); found {
			return value
		}
	}
	return ""
}

// cpuModel returns what the processor is called, where the system says so.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// text describes the machine in a few lines.
func (m *Machine) text() string {
	var b strings.Builder
	cpu := m.CPU
	if cpu == "" {
		cpu = "an unknown processor"
	}
	fmt.Fprintf(&b, "%d cores of %s, %s, %s, Redis %s", m.Cores, cpu, m.OS, m.Go, m.Redis)
	if m.Postgres != "" {
		fmt.Fprintf(&b, ", Postgres %s", m.Postgres)
	}
	fmt.Fprintf(&b, ".\n%s in %s, %s", plural(m.Events, "event"), plural(m.Streams, "stream"), plural(m.Rounds, "round"))
	if m.Ended {
		b.WriteString("; it was ended before all was measured")
	}
	b.WriteString(".")
	if m.Scale < 1 {
		fmt.Fprintf(&b, "\nWith fewer than %s events what rows append, hold, watch or weigh is %.2g %% of what they\nsay, and no goal is met or missed.", human(fullSize), 100*m.Scale)
	}
	if len(m.Private) > 0 {
		fmt.Fprintf(&b, " Servers started for this: %s.", strings.Join(m.Private, ", "))
	}
	if len(m.Settings) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(m.Settings)) {
			all = append(all, name+" "+m.Settings[name])
		}
		fmt.Fprintf(&b, "\nSettings: %s.", strings.Join(all, ", "))
	}
	return b.String()
}
