package postgres

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// owner is the OS user that the server runs as: the caller, unless that is
// root, which PostgreSQL refuses.
type owner struct {
	name     string
	uid, gid int
	switched bool
}

func findOwner() (owner, error) {
	if os.Geteuid() != 0 {
		return owner{uid: os.Geteuid(), gid: os.Getegid()}, nil
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
	return owner{}, fmt.Errorf("find an OS user for PostgreSQL, which refuses root: neither postgres nor nobody exists")
}

func (o owner) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if o.switched {
		attr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return attr
}

// mkdir makes a directory that only the owner may enter.
func (o owner) mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if o.switched {
		return os.Chown(dir, o.uid, o.gid)
	}
	return nil
}
