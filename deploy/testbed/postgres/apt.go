package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
)

const createCluster = "/etc/postgresql-common/createcluster.conf"

// aptGet installs the distribution's server package. Installing it by itself
// would make and start a cluster on port 5432, which nobody asked for: that is
// switched off for the time of the installation.
func (s Search) aptGet(ctx context.Context, _ string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("not here")
	}
	s.say("PostgreSQL is not on this machine: asking apt-get")
	if _, err := apt(ctx, "update"); err != nil {
		return err
	}
	name, err := s.aptPackage(ctx)
	if err != nil {
		return err
	}
	s.say("installing %s with apt-get, which takes about a minute", name)
	if _, err := apt(ctx, "install", "postgresql-common"); err != nil {
		return err
	}
	restore, err := withoutCluster(createCluster)
	if err != nil {
		return err
	}
	_, err = apt(ctx, "install", name)
	return errors.Join(err, restore())
}

// aptPackage is the newest server package that apt-get knows and we can use.
func (s Search) aptPackage(ctx context.Context) (string, error) {
	out, err := command(ctx, nil, "/", "apt-cache", "search", "--names-only", `^postgresql-[0-9]+$`)
	if err != nil {
		return "", err
	}
	best := 0
	for _, m := range regexp.MustCompile(`(?m)^postgresql-(\d+) `).FindAllSubmatch(out, -1) {
		major, err := strconv.Atoi(string(m[1]))
		if err == nil && major > best && (s.Major == 0 || major == s.Major) {
			best = major
		}
	}
	if best < minMajor {
		return "", fmt.Errorf("has no postgresql package of a version that would do")
	}
	return fmt.Sprintf("postgresql-%d", best), nil
}

func apt(ctx context.Context, verb string, packages ...string) ([]byte, error) {
	args := append([]string{verb, "-y", "-q", "--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=1",
		"-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20"}, packages...)
	return command(ctx, []string{"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"}, "/", "apt-get", args...)
}

// withoutCluster switches the creation of a first cluster off in
// postgresql-common's configuration, until restore is called.
func withoutCluster(file string) (restore func() error, err error) {
	before, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	during := slices.Concat(before, []byte("\ncreate_main_cluster = false\n"))
	if err := os.WriteFile(file, during, 0o644); err != nil {
		return nil, err
	}
	return func() error { return os.WriteFile(file, before, 0o644) }, nil
}
