//go:build unix

package secret

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock keeps other commands from changing a keyset in this directory, until
// unlock: the file itself is another one after each change.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	switch err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("another command is changing a keyset in %s: try again when it is done", dir), d.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	return func() {
		_ = syscall.Flock(int(d.Fd()), syscall.LOCK_UN) // a program that is being started may hold a copy of the directory
		_ = d.Close()
	}, nil
}

// sameOwner gives f to whom the file at path belongs: a service reads it as that
// user, and root, say, rotates it.
func sameOwner(f *os.File, path string) error {
	old, err := os.Stat(path)
	if err != nil {
		return err
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	want, have := old.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	if want.Uid == have.Uid && want.Gid == have.Gid {
		return nil
	}
	if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("%s belongs to another user, who could not read it any more: run this as that user, or as root", path)
	}
	return nil
}
