package process

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Env reads settings and remembers every fault, so that a person who starts a
// service learns of all of them at once. Read everything, then ask Err. An empty
// variable counts as unset. Values are never repeated in a fault: some are
// secrets.
type Env struct {
	getenv func(name string) string
	faults []Fault
}

// Fault is one setting that is missing or malformed.
type Fault struct {
	Name   string // of the variable
	Reason string // what is wrong and what to do
}

// EnvError lists the faults in the order in which the settings were read.
type EnvError struct{ Faults []Fault }

// Error gives one line a fault.
func (e *EnvError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.Name + ": " + f.Reason
	}
	if len(lines) == 1 {
		return "setting " + lines[0]
	}
	return fmt.Sprintf("%d settings are wrong:\n  %s", len(lines), strings.Join(lines, "\n  "))
}

// NewEnv reads with getenv, which is os.Getenv in a service.
func NewEnv(getenv func(name string) string) *Env { return &Env{getenv: getenv} }

// Err returns an *EnvError if any setting read so far was wrong.
func (e *Env) Err() error {
	if len(e.faults) == 0 {
		return nil
	}
	return &EnvError{Faults: slices.Clone(e.faults)}
}

// Fault records what a caller's own check of a setting found.
func (e *Env) Fault(name, format string, args ...any) {
	e.faults = append(e.faults, Fault{name, fmt.Sprintf(format, args...)})
}

// String returns a setting, or fallback if it is unset.
func (e *Env) String(name, fallback string) string {
	if v := e.getenv(name); v != "" {
		return v
	}
	return fallback
}

// Required returns a setting that has no default. what completes "set it to",
// such as "a PostgreSQL connection string".
func (e *Env) Required(name, what string) string {
	v := e.getenv(name)
	if v == "" {
		e.Fault(name, "is not set; set it to %s", what)
	}
	return v
}

// OneOf returns a setting that has a closed set of values.
func (e *Env) OneOf(name, fallback string, values ...string) string {
	v := e.String(name, fallback)
	if !slices.Contains(values, v) {
		e.Fault(name, "is none of %s", strings.Join(values, ", "))
		return fallback
	}
	return v
}

// Bool returns a setting that is on or off.
func (e *Env) Bool(name string, fallback bool) bool {
	return parse(e, name, fallback, "is no switch; set it to true or false", strconv.ParseBool)
}

// Duration returns a setting such as 250ms, 30s or 5m that is not below least.
func (e *Env) Duration(name string, fallback, least time.Duration) time.Duration {
	hint := fmt.Sprintf("is no duration of at least %s; set it to something like 250ms, 30s or 5m", least)
	return parse(e, name, fallback, hint, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		return d, orOutside(err, d < least)
	})
}

// Int returns a whole number between least and most.
func (e *Env) Int(name string, fallback, least, most int64) int64 {
	hint := fmt.Sprintf("is no whole number from %d to %d", least, most)
	return parse(e, name, fallback, hint, func(s string) (int64, error) {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, orOutside(err, n < least || n > most)
	})
}

// Addr returns an address to listen on, host:port; the host may be empty.
func (e *Env) Addr(name, fallback string) string {
	return parse(e, name, fallback, "is no address; set it to host:port, such as 127.0.0.1:3000", func(s string) (string, error) {
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return "", err
		}
		_, err = strconv.ParseUint(port, 10, 16)
		return s, err
	})
}

// URL returns an absolute URL with one of the schemes and a host.
func (e *Env) URL(name, fallback string, schemes ...string) string {
	hint := fmt.Sprintf("is no URL; set it to one that begins with %s://", strings.Join(schemes, ":// or "))
	return parse(e, name, fallback, hint, func(s string) (string, error) {
		u, err := url.Parse(s)
		return s, orOutside(err, err == nil && (!slices.Contains(schemes, u.Scheme) || u.Host == ""))
	})
}

// List returns the parts of a setting between commas, without spaces around
// them and without empty ones.
func (e *Env) List(name string) []string {
	var out []string
	for part := range strings.SplitSeq(e.getenv(name), ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// parse returns fallback where the setting is unset or, with a fault, malformed.
func parse[T any](e *Env, name string, fallback T, hint string, read func(string) (T, error)) T {
	s := e.getenv(name)
	if s == "" {
		return fallback
	}
	v, err := read(s)
	if err != nil {
		e.Fault(name, "%s", hint)
		return fallback
	}
	return v
}

func orOutside(err error, outside bool) error {
	if err == nil && outside {
		return strconv.ErrRange
	}
	return err
}
