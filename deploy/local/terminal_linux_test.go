package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// startInTerminal starts cmd with a terminal of its own: some programs ask.
func startInTerminal(t *testing.T, dir string, cmd *exec.Cmd) *child {
	t.Helper()
	screen, tty, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = tty
	shown := make(chan struct{})
	c := startOn(t, dir, cmd, tty)
	_ = tty.Close() // the child has it
	go func() {
		defer close(shown)
		_, _ = io.Copy(c.out, screen) // ends with an error when the last holder of tty has gone
		_ = screen.Close()
	}()
	ended := c.done
	c.done = make(chan struct{})
	go func() { <-ended; <-shown; close(c.done) }()
	return c
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal() (screen, tty *os.File, err error) {
	screen, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = screen.Close()
	}
	return screen, tty, err
}
