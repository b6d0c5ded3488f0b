//go:build unix && !linux

package postgres

import "syscall"

// detach keeps a Ctrl-C in the terminal from reaching the server before its
// owner.
func detach(attr *syscall.SysProcAttr) { attr.Setpgid = true }
