//go:build linux

package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/graph"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/postgres"
)

// startWait is for one service to be healthy on a machine that is busy.
const startWait = 2 * time.Minute

// system is compose.yaml with processes for containers.
type system struct {
	*testing.T
	project *types.Project
	dir     string
	ports   map[string]string // host:port of a service, by its name
	paths   map[string]string // of its program
	probe   string            // path of the health check's program
	bus     *server.Server

	mu        sync.Mutex
	processes []*process // in the order of their start
}

// up starts every service of compose.yaml once what it waits for is there.
func up(t *testing.T) *system {
	t.Helper()
	s := &system{T: t, project: load(t), dir: testbed.Dir(t), ports: map[string]string{}, paths: map[string]string{}, probe: build(t, probe)}
	for name, c := range s.project.Services {
		s.ports[name] = freePort(t)
		if folder := command(c); folder != "" {
			s.paths[name] = build(t, folder) // before anything waits
		}
	}
	s.servePostgreSQL()
	s.bus = serveNATS(t, testbed.Dir(t))
	s.ports["nats"] = strings.TrimPrefix(s.bus.ClientURL(), "nats://")
	if err := graph.InDependencyOrder(t.Context(), s.project, s.start); err != nil {
		t.Fatal(err)
	}
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// servePostgreSQL does what the image does at its first start.
func (s *system) servePostgreSQL() {
	s.Helper()
	addr, err := net.ResolveTCPAddr("tcp", s.ports["postgres"])
	if err != nil {
		s.Fatal(err)
	}
	db, err := postgres.Start(s.Context(), postgres.Config{Dir: testbed.Dir(s), Port: addr.Port})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := db.Close(); err != nil {
			s.Error(err)
		}
	})
	conn, err := pgx.Connect(s.Context(), db.DSN("postgres"))
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(context.Background())
	env := settings(s.project.Services["postgres"])
	for _, sql := range []string{"CREATE DATABASE " + env["POSTGRES_DB"], "ALTER ROLE postgres PASSWORD '" + env["POSTGRES_PASSWORD"] + "'"} {
		if _, err := conn.Exec(s.Context(), sql); err != nil {
			s.Fatal(err)
		}
	}
}

// here puts places of this machine for those of the containers of a service.
func (s *system) here(name string) *strings.Replacer {
	c := s.project.Services[name]
	own := s.ports[name]
	pairs := []string{"/probe", s.probe, "0.0.0.0:3000", own, "0.0.0.0:4010", own, "127.0.0.1:3000", own, "127.0.0.1:4010", own}
	for other, addr := range s.ports {
		for _, port := range []string{":3000", ":4010", ":4222", ":5432"} {
			pairs = append(pairs, other+port, addr)
		}
	}
	for _, published := range []string{"gateway", "sandbox"} {
		pairs = append(pairs, "localhost:"+s.project.Services[published].Ports[0].Published, s.ports[published])
	}
	for _, v := range c.Volumes {
		pairs = append(pairs, v.Target+"/", filepath.Join(s.dir, v.Source)+"/")
	}
	return strings.NewReplacer(pairs...)
}

// run starts a command of a service with nothing but the service's settings: the
// image's entry point with these arguments.
func (s *system) run(name string, args ...string) (*process, error) {
	here := s.here(name)
	cmd := exec.Command(s.paths[name])
	for _, a := range args {
		cmd.Args = append(cmd.Args, here.Replace(a))
	}
	cmd.Env = []string{} // not that of this process
	for setting, value := range settings(s.project.Services[name]) {
		cmd.Env = append(cmd.Env, setting+"="+here.Replace(value))
	}
	p, err := launch(name, cmd)
	if err != nil {
		return nil, err
	}
	s.Cleanup(func() {
		_ = p.stop(syscall.SIGKILL)
		if s.Failed() {
			s.Logf("%s %v:\n%s%s", name, args, p.out.String(), p.err.String())
		}
	})
	return p, nil
}

// start is docker compose's part for one service whose dependencies are there.
func (s *system) start(_ context.Context, name string, c types.ServiceConfig) error {
	switch name {
	case "postgres":
		return nil // it answers already
	case "nats":
		return natsHealth(s.bus)
	}
	for _, v := range c.Volumes {
		if err := os.MkdirAll(filepath.Join(s.dir, v.Source), 0o700); err != nil {
			return err
		}
	}
	p, err := s.run(name, c.Command...)
	if err != nil {
		return err
	}
	if oneShot(c) {
		return p.succeeded()
	}
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	return s.healthy(p, c)
}

// healthy runs a service's health check until it succeeds.
func (s *system) healthy(p *process, c types.ServiceConfig) error {
	test := []string(c.HealthCheck.Test)
	if test[0] != "CMD" {
		return fmt.Errorf("%s: the image has no shell for %v", p.name, test)
	}
	here := s.here(p.name)
	for deadline := time.Now().Add(startWait); ; time.Sleep(100 * time.Millisecond) {
		said, err := exec.Command(here.Replace(test[1]), here.Replace(test[2])).CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errors.Join(fmt.Errorf("%s ended", p.name), p.ended)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not healthy: %s", p.name, said)
		}
	}
}

// down stops the services in the reverse order of their start, as docker does,
// and wants each to end by itself in the time that compose.yaml gives it.
func (s *system) down() {
	s.Helper()
	for _, p := range slices.Backward(s.processes) {
		grace := 10 * time.Second // docker's own
		if g := s.project.Services[p.name].StopGracePeriod; g != nil {
			grace = time.Duration(*g)
		}
		begin := time.Now()
		if err := p.stop(syscall.SIGTERM); err != nil || time.Since(begin) > grace {
			s.Errorf("%s ended after %v: %v", p.name, time.Since(begin), err)
		}
	}
}

// process is a running command.
type process struct {
	name     string
	cmd      *exec.Cmd
	out, err output
	done     chan struct{}
	ended    error
}

// launch starts a process from a thread that lives as long as it does: with the
// thread's end the kernel ends the process.
func launch(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.err
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.ended = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// stop signals the process, unless it has ended, and returns how it did.
func (p *process) stop(sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig)
	<-p.done
	return p.ended
}

// succeeded waits for the end.
func (p *process) succeeded() error {
	select {
	case <-p.done:
	case <-time.After(startWait):
		return fmt.Errorf("%s does not end", p.name)
	}
	if p.ended != nil {
		return fmt.Errorf("%s: %w: %s", p.name, p.ended, p.err.String())
	}
	return nil
}

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
