package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"postbus.dev/deploy/testbed/internal/scratch"
)

// owner is the OS user that the server runs as and that owns its files: the
// caller, unless that is root.
type owner struct {
	name     string
	uid, gid int
	switched bool // the caller is root and becomes this user for the server
}

// findOwner picks the user. Data that exists keeps its owner, where the caller
// can be that user.
func findOwner(dataDir string) (owner, error) {
	if os.Geteuid() != 0 {
		return owner{name: strconv.Itoa(os.Geteuid()), uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	if info, err := os.Stat(dataDir); dataDir != "" && err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
			return owner{name: userName(stat.Uid), uid: int(stat.Uid), gid: int(stat.Gid), switched: true}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid != 0 {
			return owner{name: name, uid: uid, gid: gid, switched: true}, nil
		}
	}
	return owner{}, errors.New("find an OS user for PostgreSQL, which refuses root: neither postgres nor nobody exists")
}

// User is the name or number of the OS user that new servers run as.
func User() (string, error) {
	o, err := findOwner("")
	return o.name, err
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// attr makes a child process run as the owner.
func (o owner) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if o.switched {
		attr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return attr
}

// reaches tells whether the owner may enter a directory.
func (o owner) reaches(dir string) bool {
	return !o.switched || scratch.Reachable(dir, o.uid, o.gid)
}

// mkdir makes a directory that only the owner may enter, unless it exists.
func (o owner) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if o.switched {
		return os.Chown(dir, o.uid, o.gid)
	}
	return nil
}

// check tells whether a directory that exists belongs to the owner.
func (o owner) check(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != o.uid {
		return fmt.Errorf("%s belongs to user %s, and this is user %s: run as that user, or use another directory",
			dir, userName(stat.Uid), userName(uint32(o.uid)))
	}
	return nil
}
