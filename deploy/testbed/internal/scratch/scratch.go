// Package scratch makes temporary directories that do not outlive the process
// that made them, whatever ends it.
//
// Three things see to that, each for what the one before cannot do. Close is
// the ordinary end. A panic, a test timeout or a kill skips it: then a small
// shell that waits on a pipe from this process stops the PostgreSQL servers of
// the directory and removes it. Where that shell was killed as well, the next
// New in the same place finds a directory whose lock nobody holds, and does
// the same.
package scratch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	prefix   = "postbus-"
	lockName = "owner.lock"
	memory   = "/dev/shm"
	// unlocked is how old a directory without a lock must be to count as left
	// behind: its owner died between making the one and the other.
	unlocked = 10 * time.Minute
)

// janitor waits until its input ends, ends the servers whose socket lock files
// (first line: process id) are in the directory, waits for them and removes it.
const janitor = `trap '' HUP INT TERM
cat >/dev/null
i=0
while [ $i -lt 300 ]; do
	locks=$(find "$1" -name '.s.PGSQL.*.lock' 2>/dev/null)
	[ -n "$locks" ] || break
	[ $((i % 50)) -ne 0 ] || for l in $locks; do kill -INT "$(head -n 1 "$l")" 2>/dev/null; done
	sleep 0.1
	i=$((i + 1))
done
rm -rf "$1"`

// Dir is a temporary directory, readable by all users and short in its path.
type Dir struct {
	Path string
	lock *os.File
	pipe *os.File  // the janitor waits for its end
	proc *exec.Cmd // nil where there is no shell
}

// New makes a directory where temporary files are, after it has removed those
// that other processes of this user left behind.
func New() (*Dir, error) { return newIn(base()) }

// NewInMemory makes a directory in memory (Linux: /dev/shm) if there is plenty
// of room, else as New. Making a PostgreSQL cluster there takes half the time.
// Who sets TMPDIR gets that.
func NewInMemory() (*Dir, error) {
	if os.Getenv("TMPDIR") == "" && roomy(memory) {
		return newIn(memory)
	}
	return New()
}

func newIn(base string) (*Dir, error) {
	sweep(base)
	for range 10 {
		d, err := create(base)
		if err != nil {
			return nil, fmt.Errorf("make scratch directory: %w", err)
		}
		if d != nil {
			return d, nil
		}
	}
	return nil, fmt.Errorf("make scratch directory in %s: each one was swept away at once", base)
}

// base is where directories are made. PostgreSQL may run as another user than
// this process, and the path of a socket may not exceed about 100 bytes.
func base() string {
	for _, d := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if len(d) <= 60 && (os.Geteuid() != 0 || Reachable(d, -1, -1)) {
			return d
		}
	}
	return os.TempDir()
}

// create returns nil without an error if a sweeper was faster.
func create(base string) (*Dir, error) {
	path, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if !held(lock) {
		_ = lock.Close()
		return nil, nil
	}
	d := &Dir{Path: path, lock: lock}
	if err := d.startJanitor(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// held takes the lock and tells whether it is still that of the directory.
func held(lock *os.File) bool {
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return false
	}
	mine, err1 := lock.Stat()
	there, err2 := os.Stat(lock.Name())
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

func (d *Dir) startJanitor() error {
	shell, err := exec.LookPath("sh")
	if err != nil {
		return nil // the next New has to do
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	cmd := &exec.Cmd{
		Path: shell, Args: []string{"sh", "-c", janitor, "postbus-janitor", d.Path},
		Dir: "/", Stdin: r,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}, // a Ctrl-C is not for it
	}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return err
	}
	d.pipe, d.proc = w, cmd
	return nil
}

// Close removes the directory. Servers in it must have been stopped.
func (d *Dir) Close() error {
	err := os.RemoveAll(d.Path)
	if d.proc != nil {
		err = errors.Join(err, d.pipe.Close(), d.proc.Wait())
	}
	return errors.Join(err, d.lock.Close())
}
