package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Stop shuts the server down: sessions are ended, committed data is kept.
// Stopping a stopped server does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	p := s.proc
	s.proc = nil
	// Fast, immediate, and what cannot be refused.
	for i, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = p.cmd.Process.Signal(sig)
		select {
		case <-p.done:
			if i > 0 {
				return fmt.Errorf("stop PostgreSQL: it did not end within %s and was sent %v", stopWait, sig)
			}
			return nil
		case <-time.After(stopWait):
		}
	}
	return errors.New("stop PostgreSQL: it cannot be killed")
}

// Kill ends the server and all its processes at once, without a shutdown.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	p := s.proc
	s.proc = nil
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // it must not start more while the others die
	all := children(p.cmd.Process.Pid)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	<-p.done
	return s.awaitDeath(all)
}

// awaitDeath returns when none of the processes is left: while one is, a new
// server refuses the data.
func (s *Server) awaitDeath(pids []int) error {
	for deadline := time.Now().Add(stopWait); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if !slices.ContainsFunc(pids, func(pid int) bool { return serves(pid, s.dataDir()) }) {
			return nil
		}
	}
	return errors.New("kill PostgreSQL: some of its processes are left")
}

// Close stops the server for good and frees its directory for another one.
func (s *Server) Close() error {
	err := s.Stop()
	s.freeSegment()
	if s.scratch != nil {
		err = errors.Join(err, s.scratch.Close())
		s.scratch = nil
	}
	if s.lock != nil {
		// A program that is being started right now may hold a copy of the file until
		// it runs: closing ours alone would leave the lock taken as long.
		err = errors.Join(err, syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN), s.lock.Close())
		s.lock = nil
	}
	return err
}

// freeSegment removes what Kill left in the system's shared memory.
func (s *Server) freeSegment() {
	if id, ok := s.segment(); ok && s.lock != nil {
		removeSegment(id)
	}
}

// segment reads the id of the shared memory segment from postmaster.pid, which
// a server that was shut down has removed, as it has the segment.
func (s *Server) segment() (id int, ok bool) {
	b, err := os.ReadFile(filepath.Join(s.dataDir(), "postmaster.pid"))
	if err != nil {
		return 0, false
	}
	const keyAndID = 6
	lines := bytes.Split(b, []byte("\n"))
	if len(lines) <= keyAndID {
		return 0, false
	}
	fields := bytes.Fields(lines[keyAndID])
	if len(fields) != 2 {
		return 0, false
	}
	id, err = strconv.Atoi(string(fields[1]))
	return id, err == nil && id > 0
}
