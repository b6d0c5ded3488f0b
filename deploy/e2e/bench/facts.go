package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Facts are about the machine and what ran on it.
type Facts struct {
	Time       time.Time `json:"time"`
	Processor  string    `json:"processor"`
	Cores      int       `json:"cores"`
	MemoryMB   int       `json:"memoryMB"`
	Kernel     string    `json:"kernel"`
	Load       string    `json:"load"` // averages over 1, 5 and 15 minutes at the start
	Go         string    `json:"go"`
	PostgreSQL string    `json:"postgresql"`
	Settings   []string  `json:"settings"` // of PostgreSQL
	NATS       string    `json:"nats"`
	Revision   string    `json:"revision,omitempty"`
	Publishes  int       `json:"publishes"` // of a saturation round
	Accounts   int       `json:"accounts"`
}

func (s *stand) facts(ctx context.Context) Facts {
	f := Facts{
		Time: time.Now().UTC().Truncate(time.Second), Processor: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
		Kernel: line("/proc/sys/kernel/osrelease"), Go: runtime.Version(), NATS: server.VERSION + ", sync_interval always",
		Settings: s.settings(), Publishes: s.sizes.publishes, Accounts: s.sizes.accounts,
	}
	_, _ = fmt.Sscan(field("/proc/meminfo", "MemTotal"), &f.MemoryMB)
	f.MemoryMB /= 1024
	if load := strings.Fields(line("/proc/loadavg")); len(load) > 3 {
		f.Load = strings.Join(load[:3], " ")
	}
	_ = s.admin.QueryRow(ctx, `SELECT current_setting('server_version') || ', fsync ' || current_setting('fsync') ||
		', synchronous_commit ' || current_setting('synchronous_commit') || ', full_page_writes ' || current_setting('full_page_writes')`).Scan(&f.PostgreSQL)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, v := range info.Settings {
			if v.Key == "vcs.revision" {
				f.Revision = v.Value
			}
		}
	}
	return f
}

// String is a few lines for people.
func (f Facts) String() string {
	return fmt.Sprintf(`%s
%d x %s, %d MB, Linux %s, load %s
%s, PostgreSQL %s (%s), NATS %s
%d publishes over %d accounts a round, one provider call each; traces sampled at 0.1 and exported`,
		f.Time.Format(time.RFC3339), f.Cores, f.Processor, f.MemoryMB, f.Kernel, f.Load,
		f.Go, f.PostgreSQL, strings.Join(f.Settings, " "), f.NATS, f.Publishes, f.Accounts)
}

func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return first
}

// field finds "name : value" in a file of such lines.
func field(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "?"
	}
	for l := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}
