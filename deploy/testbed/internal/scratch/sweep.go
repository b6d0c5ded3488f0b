package scratch

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sweep removes what dead processes of this user left in base. It does what it
// can: a directory that resists stays for the next time.
func sweep(base string) {
	found, _ := filepath.Glob(filepath.Join(base, prefix+"*"))
	for _, path := range found {
		if ours(path) {
			sweepOne(path)
		}
	}
}

func ours(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

func sweepOne(path string) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	if err != nil {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > unlocked {
			_ = os.RemoveAll(path)
		}
		return
	}
	defer func() { _ = lock.Close() }()
	if !held(lock) {
		return
	}
	stopServers(path)
	_ = os.RemoveAll(path)
}

// stopServers ends the PostgreSQL servers whose sockets are below path. They
// lost their owner; the kernel has told most of them already.
func stopServers(path string) {
	_ = filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		name := filepath.Base(p)
		if err == nil && strings.HasPrefix(name, ".s.PGSQL.") && strings.HasSuffix(name, ".lock") {
			stopServer(p)
		}
		return nil // what cannot be read is not looked into
	})
}

func stopServer(lock string) {
	if pid := firstLine(lock); pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGINT)
		awaitGone(lock)
	}
}

func firstLine(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	sc := bufio.NewScanner(f)
	sc.Scan()
	n, _ := strconv.Atoi(strings.TrimSpace(sc.Text()))
	return n
}

func awaitGone(file string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(file); err != nil {
			return
		}
	}
}
