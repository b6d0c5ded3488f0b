package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"postbus.dev/deploy/e2e/bench/onecall"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/instagram"
	"postbus.dev/services/publisher"
)

// playPublisher is the publisher as in production, with one connector more. What
// is not its default is set by environment variables.
func playPublisher(ctx context.Context, r role) error {
	cfg, err := publisher.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	if _, err := connectorsOf(connectors.NewClient(connectors.ClientConfig{}), r); err != nil {
		return err
	}
	cfg.Connectors = func(client *connectors.Client) map[string]connectors.Connector {
		list, _ := connectorsOf(client, r) // tried above
		return list
	}
	cfg.Listening = func(addr string) { listening("http://" + addr) }
	cfg.LogWriter = os.Stderr
	cfg.Grace = 10 * time.Second
	stop, err := profile(r.Dir)
	if err != nil {
		return err
	}
	return errors.Join(publisher.Run(ctx, cfg), stop())
}

func connectorsOf(client *connectors.Client, r role) (map[string]connectors.Connector, error) {
	one, err := onecall.New(onecall.Config{Client: client, BaseURL: r.Sandbox})
	if err != nil {
		return nil, err
	}
	ig, err := instagram.New(instagram.Config{Client: client, BaseURL: r.Sandbox + "/instagram", TimeFactor: r.Factor})
	if err != nil {
		return nil, err
	}
	return map[string]connectors.Connector{onecall.Name: one, instagram.Name: hasty{ig}}, nil
}

// hasty is Instagram with its waits scaled down and its limits as they are: a
// commit call that has milliseconds to be sent in would fail under load, and
// that is not what is measured.
type hasty struct{ *instagram.Connector }

// Timing has the real limits.
func (h hasty) Timing(p connectors.Post) connectors.Timing {
	t := h.Connector.Timing(p)
	t.Commit, t.UserTO, t.Settle = 30*time.Second, 20*time.Second, 150*time.Second
	return t
}

// profile writes profiles into dir, if there is one, until it is stopped.
func profile(dir string) (stop func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	name := filepath.Join(dir, fmt.Sprintf("publisher-%d", os.Getpid()))
	cpu, err := os.Create(name + ".cpu.pprof")
	if err != nil {
		return nil, fmt.Errorf("write profile: %w", err)
	}
	runtime.MemProfileRate = 64 << 10
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		allocs, err := os.Create(name + ".allocs.pprof")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close(), cpu.Close())
	}, nil
}
