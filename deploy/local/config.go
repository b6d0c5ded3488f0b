package main

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// patience is how long the first posts may take: seconds, unless the system was
// killed with a post under way. What the stand-in did in its last second is lost
// then, so that the account may wait until reading back is given up.
const patience = 2 * time.Minute

// config is the settings.
type config struct {
	httpAddr, natsAddr, sandboxAddr string
	dataDir                         string
	returnTo                        []string // of the account service
	once                            bool
	patience                        time.Duration // how long the first posts may take
	getenv                          func(string) string
}

// settings reads the environment. Its error names every fault in one line.
func settings(getenv func(string) string) (config, error) {
	or := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	c := config{
		httpAddr:    or("POSTBUS_HTTP_ADDR", "127.0.0.1:3000"),
		natsAddr:    or("POSTBUS_NATS_ADDR", "127.0.0.1:4222"),
		sandboxAddr: or("POSTBUS_SANDBOX_ADDR", "127.0.0.1:4010"),
		dataDir:     filepath.Clean(or("POSTBUS_DATA_DIR", ".postbus")),
		once:        getenv("POSTBUS_DEMO") == "once",
		patience:    patience,
		getenv:      getenv,
	}
	for entry := range strings.SplitSeq(getenv("POSTBUS_RETURN_TO"), ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			c.returnTo = append(c.returnTo, entry)
		}
	}
	var faults []error
	for _, a := range c.addresses() {
		if _, port, err := net.SplitHostPort(a.addr); err != nil || !isPort(port) {
			faults = append(faults, fmt.Errorf("%s=%s is no address: set it to host:port, such as 127.0.0.1:3000", a.setting, a.addr))
		}
	}
	if v := getenv("POSTBUS_DEMO"); v != "" && v != "once" {
		faults = append(faults, fmt.Errorf("POSTBUS_DEMO=%s is unknown: set it to once, or not at all", v))
	}
	if v := getenv("POSTBUS_LOG_LEVEL"); v != "" && new(slog.Level).UnmarshalText([]byte(v)) != nil {
		faults = append(faults, fmt.Errorf("POSTBUS_LOG_LEVEL=%s is unknown: set it to debug, info, warn or error", v))
	}
	return c, oneLine(faults)
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// address is one that the system listens on, and the setting that moves it.
type address struct{ setting, addr string }

func (c config) addresses() []address {
	return []address{
		{"POSTBUS_HTTP_ADDR", c.httpAddr}, {"POSTBUS_NATS_ADDR", c.natsAddr}, {"POSTBUS_SANDBOX_ADDR", c.sandboxAddr},
	}
}

// oneLine joins errors so that they still are one line.
func oneLine(errs []error) error {
	var all error
	for _, err := range errs {
		if all == nil {
			all = err
		} else {
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// asURL is how people reach what listens on an address.
func asURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsUnspecified() || ip.Equal(net.IPv4(127, 0, 0, 1))) {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}
