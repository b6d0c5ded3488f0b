package postgres

import "syscall"

// detach keeps a Ctrl-C in the terminal from reaching the server before its
// owner, and has the kernel stop the server (fast shutdown) when the owner dies.
func detach(attr *syscall.SysProcAttr) {
	attr.Setpgid = true
	attr.Pdeathsig = syscall.SIGINT
}
