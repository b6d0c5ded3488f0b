package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const (
	minMajor    = 15 // the oldest that the schema runs on
	binariesEnv = "POSTBUS_POSTGRES_BIN"
	versionWait = 10 * time.Second
)

// ErrNotFound says that no PostgreSQL that could be used is on the machine.
var ErrNotFound = errors.New("no PostgreSQL 15 or newer found")

// Binaries are the programs of one PostgreSQL installation.
type Binaries struct {
	Dir     string // holds initdb and postgres
	Version string // "15.18"
	Major   int    // 15
}

// Search says where PostgreSQL is looked for, and where it is put when it has
// to be fetched. The zero value looks in the usual places.
type Search struct {
	// Dirs are bin directories, glob patterns allowed. Nil means the directory
	// that POSTBUS_POSTGRES_BIN names and no other, and where that is not set,
	// PATH and the places where systems put PostgreSQL.
	Dirs []string
	// DataDir is where fetched binaries are kept. Empty means a cache of the
	// user's.
	DataDir string
	// Major, if not 0, is the only version wanted: that of existing data.
	Major int
	// Progress is told in single lines what takes time. May be nil.
	Progress func(line string)
}

// Find returns the newest PostgreSQL that can be used, or ErrNotFound.
func Find(ctx context.Context, s Search) (Binaries, error) {
	o, err := findOwner("")
	if err != nil {
		return Binaries{}, err
	}
	if dir := os.Getenv(binariesEnv); dir != "" && s.Dirs == nil {
		b, err := s.inspect(ctx, dir, o)
		if err != nil {
			return Binaries{}, fmt.Errorf("use PostgreSQL of %s=%s: %w", binariesEnv, dir, err)
		}
		return b, nil
	}
	var best Binaries
	for _, dir := range s.candidates() {
		if b, err := s.inspect(ctx, dir, o); err == nil && b.Major > best.Major {
			best = b
		}
	}
	if best.Dir == "" {
		return Binaries{}, ErrNotFound
	}
	return best, nil
}

// candidates are bin directories, those to prefer first.
func (s Search) candidates() (dirs []string) {
	patterns := s.Dirs
	if patterns == nil {
		patterns = append(filepath.SplitList(os.Getenv("PATH")), "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
			"/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")
	}
	for _, d := range s.stores() {
		patterns = append(patterns, filepath.Join(d, fetchedPrefix+"*", "bin"))
	}
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err == nil {
			dirs = append(dirs, found...)
		}
	}
	return dirs
}

// inspect reads the version of the installation whose programs are in dir, and
// says why it cannot be used. A postgres that is linked into a directory of
// PATH is followed to its home.
func (s Search) inspect(ctx context.Context, dir string, o owner) (Binaries, error) {
	server, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err == nil {
		server, err = filepath.Abs(server) // it is run from elsewhere
	}
	if err != nil {
		return Binaries{}, err
	}
	dir = filepath.Dir(server)
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, err
	}
	if !o.reaches(dir) {
		return Binaries{}, fmt.Errorf("user %s may not enter %s", o.name, dir)
	}
	b, err := askVersion(ctx, server)
	switch {
	case err != nil:
		return Binaries{}, err
	case b.Major < minMajor:
		return Binaries{}, fmt.Errorf("it is version %s, needed is %d or newer", b.Version, minMajor)
	case s.Major != 0 && b.Major != s.Major:
		return Binaries{}, fmt.Errorf("it is version %s, the data is of version %d", b.Version, s.Major)
	}
	return b, nil
}

func askVersion(ctx context.Context, server string) (Binaries, error) {
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, server, "--version")
	cmd.Dir = "/"
	out, err := cmd.Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("run %s --version: %w", server, err)
	}
	version, major, err := parseVersion(string(out))
	return Binaries{Dir: filepath.Dir(server), Version: version, Major: major}, err
}

func parseVersion(out string) (version string, major int, err error) {
	m := regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`).FindStringSubmatch(out)
	if m == nil {
		return "", 0, fmt.Errorf("read PostgreSQL version: unexpected %q", out)
	}
	major, err = strconv.Atoi(m[2])
	return m[1], major, err
}
