package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks of /proc are hundredths of a second on every Linux that Go runs on.
const ticks = 100

// usage is the CPU that was used up to a moment, in seconds. Where the system
// has no /proc all of it is zero, and shares of it are not shown.
type usage struct {
	at    time.Time
	parts map[string]float64
	busy  float64 // of the whole machine, whoever used it
	total float64 // that the machine had
}

// usage reads that of all parts; the publisher may be nil.
func (s *stand) usage(publisher *process) usage {
	u := usage{at: time.Now(), parts: map[string]float64{}}
	for _, p := range []*process{s.nats, s.sandbox, s.collect, publisher} {
		if p != nil {
			u.parts[p.role.Part] = cpuOf(p.cmd.Process.Pid).own
		}
	}
	u.parts[partBench] = cpuOf(os.Getpid()).own
	u.parts[partPostgres] = s.postgresCPU()
	u.busy, u.total = machineCPU()
	return u
}

// spent is what was used between two moments.
type spent struct {
	elapsed time.Duration
	parts   map[string]float64 // seconds
	foreign float64            // share of the machine that other programs used, 0 to 1
}

func (u usage) until(v usage) spent {
	s := spent{elapsed: v.at.Sub(u.at), parts: map[string]float64{}}
	own := 0.0
	for name, after := range v.parts {
		s.parts[name] = after - u.parts[name]
		own += s.parts[name]
	}
	if total := v.total - u.total; total > 0 {
		s.foreign = max(0, v.busy-u.busy-own) / total
	}
	return s
}

// of is what the system itself used, the benchmark left out, in microseconds for
// each of n things.
func (s spent) each(n int) (all float64, parts map[string]float64) {
	parts = map[string]float64{}
	for name, seconds := range s.parts {
		if name == partBench {
			continue
		}
		parts[name] = seconds * 1e6 / float64(n)
		all += parts[name]
	}
	return all, parts
}

// procCPU is what one process used.
type procCPU struct {
	parent int
	own    float64 // seconds
	reaped float64 // of its children that have ended
}

func cpuOf(pid int) procCPU {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procCPU{}
	}
	// pid (name) state parent ...; the name may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 15 {
		return procCPU{}
	}
	parent, _ := strconv.Atoi(f[1])
	return procCPU{parent: parent, own: seconds(f[11], f[12]), reaped: seconds(f[13], f[14])}
}

func seconds(fields ...string) (sum float64) {
	for _, f := range fields {
		n, _ := strconv.ParseFloat(f, 64)
		sum += n
	}
	return sum / ticks
}

// postgresCPU is that of the server's first process, of all that it started, and
// of those that have ended since.
func (s *stand) postgresCPU() float64 {
	b, err := os.ReadFile(filepath.Join(s.postgresDir(), "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	root := cpuOf(pid)
	sum := root.own + root.reaped
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if c := cpuOf(child); c.parent == pid {
			sum += c.own
		}
	}
	return sum
}

// machineCPU counts steal as busy: another guest of the same host is a foreign
// program too.
func machineCPU() (busy, total float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	const idle, iowait, steal = 3, 4, 7
	for i, f := range strings.Fields(first)[1:] {
		if i > steal { // guests are in user time already
			break
		}
		t := seconds(f)
		total += t
		if i != idle && i != iowait {
			busy += t
		}
	}
	return busy, total
}
