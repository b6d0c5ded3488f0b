package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// process is a part that runs on its own.
type process struct {
	role role
	url  string // where it is reached
	cmd  *exec.Cmd
	in   io.Closer
	log  *tail
	done chan struct{} // closed when it has ended
	err  error
}

const (
	startWait = 30 * time.Second
	stopWait  = 30 * time.Second
)

// start starts a part and returns when it says where it is reached.
func start(ctx context.Context, r role, env ...string) (*process, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", r.Part, err)
	}
	p := &process{role: r, cmd: exec.Command(self), //nolint:noctx // it is stopped, not killed
		log: &tail{}, done: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), roleVariable+"="+string(raw)), env...)
	p.cmd.Stderr = p.log
	out, err1 := p.cmd.StdoutPipe()
	in, err2 := p.cmd.StdinPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("start %s: %w", r.Part, err)
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", r.Part, err)
	}
	if err := p.await(ctx, out); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w: %s", r.Part, err, p.log), p.stop())
	}
	return p, nil
}

// await reads the first line of the process's output, and the rest for nothing.
func (p *process) await(ctx context.Context, out io.Reader) error {
	said := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		said <- strings.TrimSpace(line)
		_, _ = io.Copy(io.Discard, r)
		p.err = p.cmd.Wait() // once all output is read, as Wait asks
		close(p.done)
	}()
	select {
	case p.url = <-said:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(startWait):
		return errors.New("it says nothing")
	}
	if p.url == "" {
		return errors.New("it ended")
	}
	return nil
}

// stop asks the process to end and waits.
func (p *process) stop() error {
	_ = p.in.Close()
	select {
	case <-p.done:
	case <-time.After(stopWait):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("stop %s: it did not end within %s", p.role.Part, stopWait)
	}
	if p.err != nil {
		return fmt.Errorf("%s ended: %w: %s", p.role.Part, p.err, p.log)
	}
	return nil
}

// running is an error if the process has ended by itself.
func (p *process) running() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %w: %s", p.role.Part, p.err, p.log)
	default:
		return nil
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if len(t.buf) > 2*tailSize {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailSize:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf[max(0, len(t.buf)-tailSize):]))
}
