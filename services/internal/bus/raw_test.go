package bus

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
)

// publishRawHeader sends headers that no client library would.
func publishRawHeader(t testing.TB, natsURL, subject, header, body string) {
	t.Helper()
	said := speak(t, natsURL, fmt.Sprintf("HPUB %s %d %d\r\n%s%s\r\n", subject, len(header), len(header)+len(body), header, body))
	if said != "" {
		t.Fatalf("server: %s", said)
	}
}

// publishRaw publishes whatever the size, and returns what the server said.
func publishRaw(t testing.TB, natsURL, subject, body string) string {
	t.Helper()
	return speak(t, natsURL, fmt.Sprintf("PUB %s %d\r\n%s\r\n", subject, len(body), body))
}

// speak says something in NATS' own protocol and returns the error, if any.
func speak(t testing.TB, natsURL, what string) string {
	t.Helper()
	u, err := url.Parse(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil { // INFO
		t.Fatal(err)
	}
	go func() { // the server may hang up in the middle
		_, _ = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"protocol\":1}\r\n%sPING\r\n", what)
	}()
	for {
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return err.Error()
		case strings.HasPrefix(line, "-ERR"):
			return line
		case strings.HasPrefix(line, "PONG"):
			return ""
		}
	}
}
