package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// MinMajor is the oldest major version that the schema runs on.
const MinMajor = 15

// ErrNotFound says that no usable PostgreSQL is on the machine.
var ErrNotFound = errors.New("no PostgreSQL 15 or newer found")

// Binaries are the programs of one PostgreSQL installation.
type Binaries struct {
	Dir     string // holds initdb and postgres
	Major   int    // 15
	Version string // "15.18"
}

// Search says where PostgreSQL is looked for and where it is put if it has to
// be fetched. The zero value is right for most.
type Search struct {
	Dirs     []string          // bin directories, glob patterns allowed; default: POSTBUS_POSTGRES_BIN alone if set, else PATH and the usual places
	DataDir  string            // provisioned binaries are kept below it; default: the user's cache
	Progress func(line string) // told what is going on; may be nil
}

// Find returns the newest usable PostgreSQL, or ErrNotFound.
func Find(s Search) (Binaries, error) {
	dirs, err := s.candidates()
	if err != nil {
		return Binaries{}, err
	}
	var best Binaries
	for _, d := range dirs {
		b, err := inspect(d)
		if err == nil && b.Major >= MinMajor && b.Major > best.Major {
			best = b
		}
	}
	if best.Dir == "" {
		return Binaries{}, ErrNotFound
	}
	return best, nil
}

func (s Search) candidates() ([]string, error) {
	patterns := s.Dirs
	if patterns == nil {
		patterns = append(filepath.SplitList(os.Getenv("PATH")), "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
			"/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")
	}
	var dirs []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("find PostgreSQL: pattern %q: %w", p, err)
		}
		dirs = append(dirs, found...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// inspect reads the version of the installation whose programs are in dir. A
// lone postgres, linked into a directory of PATH, is followed to its home.
func inspect(dir string) (Binaries, error) {
	server, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return Binaries{}, err
	}
	dir = filepath.Dir(server)
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, err
	}
	cmd := exec.CommandContext(context.Background(), server, "--version")
	cmd.Dir = "/"
	out, err := cmd.Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("run %s --version: %w", server, err)
	}
	version, major, err := parseVersion(string(out))
	return Binaries{Dir: dir, Version: version, Major: major}, err
}

func parseVersion(out string) (version string, major int, err error) {
	m := regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`).FindStringSubmatch(out)
	if m == nil {
		return "", 0, fmt.Errorf("read PostgreSQL version: unexpected %q", out)
	}
	major, err = strconv.Atoi(m[2])
	return m[1], major, err
}
