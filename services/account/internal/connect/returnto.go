package connect

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"postbus.dev/services/internal/httpapi"
)

// maxReturnTo is the most characters that an address to return to may have.
const maxReturnTo = 2048

// returns are the places that a person may be sent back to.
type returns []place

// place is an origin, and what its paths begin with.
type place struct {
	origin string // scheme, host and port, the port of the scheme left out
	path   string // "" for every path of the origin
}

// newReturns reads the list of an operator, and names every fault in it.
func newReturns(list []string) (returns, error) {
	var out returns
	var faults []error
	for _, entry := range list {
		p, u, err := readPlace(entry)
		if err == nil && u.RawQuery != "" {
			err = errors.New("it has a query")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("address to return to %q: %w", entry, err))
			continue
		}
		p.path = strings.TrimSuffix(p.path, "/")
		out = append(out, p)
	}
	return out, errors.Join(faults...)
}

// allow returns the address as it may be sent to a browser, or an error.
func (rs returns) allow(address string) (string, error) {
	p, u, err := readPlace(address)
	if err != nil {
		return "", err
	}
	for _, allowed := range rs {
		if p.origin == allowed.origin && (p.path == allowed.path || strings.HasPrefix(p.path, allowed.path+"/")) {
			return u.String(), nil
		}
	}
	return "", errors.New("is not among the addresses that people may be sent back to, which the setting POSTBUS_RETURN_TO lists")
}

// readPlace refuses whatever a browser may read in another way than we do, so
// that what was compared is where the browser goes.
func readPlace(address string) (place, *url.URL, error) {
	if err := plain(address); err != nil {
		return place{}, nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return place{}, nil, errors.New("is no URL") // the parser's own text quotes it
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Opaque != "", u.Hostname() == "", strings.ContainsFunc(u.Hostname(), oddInHost):
		return place{}, nil, errors.New("must begin with https:// or http:// and the full name of a host")
	case u.User != nil:
		return place{}, nil, errors.New("must not hold a user name")
	case dotted(u):
		return place{}, nil, errors.New("must not hold dot segments or encoded slashes in its path")
	}
	u.Host = withoutDefaultPort(u)
	return place{origin: u.Scheme + "://" + u.Host, path: u.EscapedPath()}, u, nil
}

// plain refuses what browsers drop (control characters, spaces), take for a slash
// (the backslash), or handle without us (fragments).
func plain(address string) error {
	if address == "" || len(address) > maxReturnTo {
		return fmt.Errorf("must have 1 to %d characters", maxReturnTo)
	}
	for i := range len(address) {
		if c := address[i]; c <= ' ' || c > '~' || strings.IndexByte("\\\"<>^`{|}", c) >= 0 {
			return errors.New("must be printable ASCII, with everything else percent-encoded")
		}
	}
	if strings.Contains(address, "#") {
		return errors.New("must not have a fragment")
	}
	return nil
}

// oddInHost: a wildcard, for one, would be taken for the name of a host.
func oddInHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:", r)
}

// dotted says whether the path may lead out of where it seems to be.
func dotted(u *url.URL) bool {
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	escaped := strings.ToLower(u.EscapedPath())
	return strings.Contains(escaped, "%2f") || strings.Contains(escaped, "%5c")
}

func withoutDefaultPort(u *url.URL) string {
	port := u.Port()
	if port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		return net.JoinHostPort(u.Hostname(), port)
	}
	if host := u.Hostname(); strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return u.Hostname()
}

// backTo adds to an address how it ended.
func backTo(address string, code httpapi.Code, account uuid.UUID) string {
	u, err := url.Parse(address)
	if err != nil { // it was parsed when it was allowed
		return address
	}
	result := url.Values{"status": {"connected"}, "accountId": {account.String()}}
	if code != "" {
		result = url.Values{"status": {"failed"}, "code": {string(code)}}
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += result.Encode()
	return u.String()
}
