package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// otherDir ends what is said about a data directory that cannot be used.
const otherDir = "or set POSTBUS_DATA_DIR to another directory"

// claim makes the data directory and takes its lock: the process has it alone
// until the lock is closed or the process dies.
func claim(dir string) (lock *os.File, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make data directory: %w: make it writable, %s", err, otherDir)
	}
	path := filepath.Join(dir, "postbus.lock")
	if err := ownedByUs(path); err != nil {
		return nil, err
	}
	lock, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("use data directory: %w: make it writable, %s", err, otherDir)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by process %s: end that first, %s", dir, strings.TrimSpace(string(holder)), otherDir), lock.Close())
	}
	if err := errors.Join(lock.Truncate(0), writeAt0(lock, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("use data directory: %w", err), lock.Close())
	}
	return lock, nil
}

func writeAt0(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// ownedByUs refuses the data of another user: files of two owners in it would
// lock both out.
func ownedByUs(path string) error {
	var stat syscall.Stat_t
	if syscall.Stat(path, &stat) != nil || int(stat.Uid) == os.Geteuid() {
		return nil //nolint:nilerr // or there is none yet: what else it may be shows when it is opened
	}
	return fmt.Errorf("data directory %s belongs to user %s, and this is user %s: run as that user, %s",
		filepath.Dir(path), userName(int(stat.Uid)), userName(os.Geteuid()), otherDir)
}

func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// portsFree finds out before anything is started.
func portsFree(ctx context.Context, cfg config) error {
	var taken, settings []string
	var errs []error
	for _, a := range cfg.addresses() {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.addr)
		switch {
		case err == nil:
			_ = l.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			taken, settings = append(taken, a.addr), append(settings, a.setting)
		default:
			errs = append(errs, fmt.Errorf("%s=%s cannot be listened on: %w", a.setting, a.addr, err))
		}
	}
	if len(taken) > 0 {
		is, them := "is", "it"
		if len(taken) > 1 {
			is, them = "are", "them"
		}
		errs = append(errs, fmt.Errorf("%s %s in use: end the program that has %s, or choose another port with %s",
			strings.Join(taken, ", "), is, them, strings.Join(settings, ", ")))
	}
	return oneLine(errs)
}

const logMaxSize = 8 << 20

// openLog appends to the log, and begins a new one when it has grown.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > logMaxSize {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("begin a new log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w: make it writable, %s", err, otherDir)
	}
	return f, nil
}
