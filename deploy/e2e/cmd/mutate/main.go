// Command mutate shows that the tests bite: it copies the repository, takes one
// guarantee's mechanism out of the copy, runs the test that is named for it,
// and wants that test to fail. A mutation that no longer fits the code fails.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// limit is for one test; a mutant may make it wait for what never comes.
const limit = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// run tries the mutations whose names contain one of only, or all.
func run(ctx context.Context, only []string) (err error) {
	all, err := mutations()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "postbus-mutate-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL runs as another user
		return err
	}
	if err := copyTree(ctx, dir); err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(m mutation) bool { return !wanted(m.Name, only) })
	survived := 0
	for _, m := range all {
		start := time.Now()
		verdict, ok := m.try(ctx, dir)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !ok {
			survived++
		}
		fmt.Printf("%-44s %-9s %5.1f s  %s\n", m.Name, verdict, time.Since(start).Seconds(), m.Test)
	}
	fmt.Printf("%d passed, %d failed\n", len(all)-survived, survived)
	if survived > 0 {
		return fmt.Errorf("%d mutations were not noticed", survived)
	}
	return nil
}

func wanted(name string, only []string) bool {
	for _, o := range only {
		if strings.Contains(name, o) {
			return true
		}
	}
	return len(only) == 0
}

// copyTree copies what git knows, as it is in the working tree.
func copyTree(ctx context.Context, dir string) error {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "-co", "--exclude-standard", "-z").Output()
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		body, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, not committed
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// try puts the mutation in, runs its test, and takes it out.
func (m mutation) try(ctx context.Context, dir string) (verdict string, ok bool) {
	path := filepath.Join(dir, m.File)
	before, err := os.ReadFile(path)
	if err != nil {
		return err.Error(), false
	}
	if n := bytes.Count(before, []byte(m.Old)); n != 1 {
		return fmt.Sprintf("its text is there %d times", n), false
	}
	if err := os.WriteFile(path, bytes.Replace(before, []byte(m.Old), []byte(m.New), 1), 0o644); err != nil {
		return err.Error(), false
	}
	defer func() { _ = os.WriteFile(path, before, 0o644) }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-race", "-count=1", "-timeout=4m", "-run", m.Test, ".")
	cmd.Dir = filepath.Join(dir, m.Pkg)
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return "SURVIVED", false
	case !bytes.Contains(out, []byte(m.Says)):
		return "red, but it does not say " + m.Says, false
	case bytes.Contains(out, []byte("--- FAIL")) || bytes.Contains(out, []byte("panic: test timed out")):
		return "red", true
	default:
		return "did not run: " + string(bytes.TrimSpace(out)), false
	}
}
