package connect

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postbus.dev/services/connectors"
)

// tokenLength is 32 bytes in base64url without padding.
const tokenLength = 43

type hash = [sha256.Size]byte

// newToken is a value that nobody can guess: a state, a link, a cookie, a PKCE
// verifier (RFC 7636 asks for 43 to 128 of these characters).
func newToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process where there is no randomness
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// hashOf returns what the database keeps of a token. What cannot be one has no
// hash, and costs no query.
func hashOf(token string) (hash, bool) {
	if len(token) != tokenLength {
		return hash{}, false
	}
	return sha256.Sum256([]byte(token)), true
}

// challenge is the S256 of a PKCE verifier.
func challenge(verifier connectors.Secret) string {
	sum := sha256.Sum256([]byte(verifier.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// cookies bind a state to the browser that it was made for. Each state has a
// cookie of its own, so that two tabs do not take each other's.
type cookies struct {
	prefix, path string
	secure       bool
	life         time.Duration
}

// newCookies: over https the name has the prefix by which a browser takes a
// cookie from this very host only. Without it another host of the same domain
// could plant the cookie of a flow that it began itself.
func newCookies(public *url.URL, life time.Duration) cookies {
	if public.Scheme == "https" {
		return cookies{prefix: "__Host-postbus-connect-", path: "/", secure: true, life: life}
	}
	return cookies{prefix: "postbus-connect-", path: strings.TrimSuffix(public.Path, "/") + "/api/connect", life: life}
}

// name tells nothing of the state to who sees the cookie's name alone.
func (c cookies) name(state hash) string {
	return c.prefix + base64.RawURLEncoding.EncodeToString(state[:9])
}

func (c cookies) make(state hash, value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: c.name(state), Value: value, Path: c.path, MaxAge: age, Secure: c.secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // the way back from the provider is a navigation from another site
	}
}

func (c cookies) set(w http.ResponseWriter, state hash, value string) {
	http.SetCookie(w, c.make(state, value, int(c.life/time.Second)))
}

func (c cookies) clear(w http.ResponseWriter, state hash) {
	http.SetCookie(w, c.make(state, "", -1))
}

// of returns the hash of the browser's cookie for a state. Two of one name are
// none: one of them was planted.
func (c cookies) of(r *http.Request, state hash) (hash, bool) {
	found := r.CookiesNamed(c.name(state))
	if len(found) != 1 {
		return hash{}, false
	}
	return hashOf(found[0].Value)
}
