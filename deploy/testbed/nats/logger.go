package nats

import (
	"fmt"
	"log/slog"
	"sync"
)

// logger passes what an operator must know on to slog, and remembers the last
// error: the server reports a failed start only there.
type logger struct {
	out *slog.Logger
	mu  sync.Mutex
	msg string
}

func (l *logger) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.msg
}

func (l *logger) keep(format string, v []any) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.msg = fmt.Sprintf(format, v...)
	return l.msg
}

// Warnf, Errorf and Fatalf log; a server that meets a fatal error does not end
// the process around it.
func (l *logger) Warnf(format string, v ...any)  { l.out.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any) { l.out.Error("nats: " + l.keep(format, v)) }
func (l *logger) Fatalf(format string, v ...any) { l.out.Error("nats: " + l.keep(format, v)) }

// Noticef, Debugf and Tracef are of no use to those who run this.
func (l *logger) Noticef(string, ...any) {}
func (l *logger) Debugf(string, ...any)  {}
func (l *logger) Tracef(string, ...any)  {}
