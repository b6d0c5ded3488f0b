package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	superuser  = "postgres"
	orphanWait = 30 * time.Second
)

// DataMajor returns the major version that the data in a server's directory
// (Config.Dir) was made by, or 0 if there is none yet.
func DataMajor(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "data", "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read version of PostgreSQL data: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read version of PostgreSQL data: %s/data/PG_VERSION holds %q", dir, b)
	}
	return major, nil
}

// prepare makes or checks the data directory. The caller holds the lock.
func (s *Server) prepare(ctx context.Context) error {
	data := s.dataDir()
	if err := os.Remove(data); err == nil || errors.Is(err, os.ErrNotExist) {
		return s.initialize(ctx) // it was empty or not there
	}
	if err := s.owner.check(data); err != nil {
		return fmt.Errorf("use data directory: %w", err)
	}
	switch major, err := DataMajor(s.config.Dir); {
	case err != nil:
		return err
	case major == 0:
		return fmt.Errorf("use data directory: %s holds files that are not PostgreSQL's: move them away, or use another directory", data)
	case major != s.config.Binaries.Major:
		return fmt.Errorf("use data directory: %s was made by PostgreSQL %d, and %s is version %s: install PostgreSQL %d, or move the directory away to start anew",
			data, major, s.config.Binaries.Dir, s.config.Binaries.Version, major)
	}
	return s.endOrphan()
}

// initialize makes a cluster aside and moves it in place, so that one that was
// interrupted is never taken for a whole one.
func (s *Server) initialize(ctx context.Context) error {
	fresh := s.dataDir() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("remove unfinished data directory: %w", err)
	}
	if err := s.fill(ctx, fresh); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(fresh, s.dataDir()); err != nil {
		return fmt.Errorf("put data directory in place: %w", err)
	}
	return nil
}

func (s *Server) fill(ctx context.Context, data string) error {
	if s.config.Seed != "" {
		return copyData(ctx, s.config.Seed, data)
	}
	if err := s.owner.mkdir(data); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return s.initdb(ctx, data)
}

// Keep stops the server and copies its data to dir, which must not exist, for
// servers of the same user and version to begin with (Config.Seed).
func (s *Server) Keep(ctx context.Context, dir string) error {
	if err := s.Stop(); err != nil {
		return err
	}
	fresh := dir + ".new"
	if err := errors.Join(os.RemoveAll(fresh), copyData(ctx, s.dataDir(), fresh)); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(fresh, dir); err != nil {
		return fmt.Errorf("keep data directory: %w", err)
	}
	return nil
}

// copyData copies the data of a stopped server with owners and modes.
func copyData(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy PostgreSQL data from %s: %w: %s", from, err, tail(out, 1))
	}
	return nil
}

func (s *Server) initdb(ctx context.Context, data string) error {
	// Locale C is the one that every system and every build has.
	args := []string{"-U", superuser, "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"}
	if !s.config.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.config.Binaries.Dir, "initdb"), args...)
	closeDir, err := s.enter(cmd, data)
	if err != nil {
		return err
	}
	defer closeDir()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("initialize PostgreSQL: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("initialize PostgreSQL: %w: %s", err, tail(out, 4))
	}
	return nil
}

// enter sets cmd up to run as the owner on a data directory: by its path where
// the owner can get there, else by a descriptor that is opened for it.
func (s *Server) enter(cmd *exec.Cmd, data string) (closeDir func(), err error) {
	cmd.SysProcAttr = s.owner.attr()
	cmd.Dir = "/" // the owner may not be able to read ours
	if s.owner.reaches(filepath.Dir(data)) {
		cmd.Args = append(cmd.Args, "-D", data)
		return func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		_ = dir.Close()
		return nil, fmt.Errorf("use data directory: user %s, whom PostgreSQL runs as, may not enter %s: use a directory that all may enter", s.owner.name, filepath.Dir(data))
	}
	cmd.ExtraFiles = []*os.File{dir} // descriptor 3
	cmd.Args = append(cmd.Args, "-D", "/proc/self/fd/3")
	return func() { _ = dir.Close() }, nil
}

// endOrphan waits for a server that still runs on the data though its owner is
// dead, which the lock proves, and tells it to end if nobody else did.
func (s *Server) endOrphan() error {
	pid := s.runningPID()
	if pid == 0 {
		return nil
	}
	s.config.Search.say("ending PostgreSQL (process %d) that an earlier run left on %s", pid, s.dataDir())
	_ = syscall.Kill(pid, syscall.SIGINT)
	for deadline := time.Now().Add(orphanWait); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if s.runningPID() == 0 {
			return nil
		}
	}
	return fmt.Errorf("use data directory: PostgreSQL (process %d) runs on %s and does not end: kill it first", pid, s.dataDir())
}

// runningPID reads postmaster.pid and returns the process in it if that is a
// server on this data, else 0. A process id that something else has got in the
// meantime would keep a new server from starting: such a file is removed.
func (s *Server) runningPID() int {
	file := filepath.Join(s.dataDir(), "postmaster.pid")
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	first, _, _ := bytes.Cut(b, []byte("\n"))
	pid, err := strconv.Atoi(strings.TrimSpace(string(first)))
	if err != nil || pid <= 1 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return 0 // PostgreSQL itself sees that it is stale
	}
	if !serves(pid, s.dataDir()) {
		_ = os.Remove(file)
		return 0
	}
	return pid
}

func tail(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
