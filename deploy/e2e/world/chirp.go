package world

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"
)

// Chirp is a provider of these tests alone, for what Instagram has not: PKCE,
// refresh tokens, webhooks. Accounts are connected there and nothing is posted.
// Its connector, in the account services, is in chirpconnector.go.
type Chirp struct {
	server *httptest.Server

	mu       sync.Mutex
	codes    map[string]chirpCode
	told     map[string]string // every secret of it, with its kind
	verified int               // codes that came with their verifier
}

type chirpCode struct{ account, challenge, redirect string }

// ChirpSecret signs what Chirp calls us with.
const ChirpSecret = "client-secret-at-chirp"

// newChirp serves Chirp's one call: a code and its verifier for tokens.
func newChirp() *Chirp {
	c := &Chirp{codes: map[string]chirpCode{}, told: map[string]string{ChirpSecret: "client secret"}}
	c.server = httptest.NewServer(http.HandlerFunc(c.spend))
	return c
}

func (c *Chirp) secret(kind string) string {
	s := "chirp-" + rand.Text()
	c.told[s] = kind
	return s
}

// Consent is a person who allows at the page of an address that an account is
// connected; it returns where the browser is sent.
func (c *Chirp) Consent(page, account string) (back string, err error) {
	u, err := url.Parse(page)
	if err != nil {
		return "", err
	}
	q := u.Query()
	c.mu.Lock()
	defer c.mu.Unlock()
	code := c.secret("code")
	c.codes[code] = chirpCode{account, q.Get("code_challenge"), q.Get("redirect_uri")}
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), nil
}

func (c *Chirp) spend(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	c.mu.Lock()
	defer c.mu.Unlock()
	code, verifier := c.codes[r.PostForm.Get("code")], r.PostForm.Get("verifier")
	delete(c.codes, r.PostForm.Get("code"))
	c.told[verifier] = "PKCE verifier"
	sum := sha256.Sum256([]byte(verifier))
	if code.account == "" || code.redirect != r.PostForm.Get("redirect") || code.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.verified++
	_ = json.NewEncoder(w).Encode(chirpTokens{code.account, c.secret("access token"), c.secret("refresh token")})
}

type chirpTokens struct{ Account, Access, Refresh string }

// Verified is how many codes were spent with the verifier that belongs to them.
func (c *Chirp) Verified() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verified
}

// Secrets are all codes, tokens, signatures and PKCE verifiers so far, and our own
// secret, each with its kind.
func (c *Chirp) Secrets() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.told)
}

// Webhook is the body with which Chirp tells of a post, and its signature.
func (c *Chirp) Webhook(account, post string) (body, signature string) {
	raw, _ := json.Marshal(chirpNotice{account, post, time.Now()})
	c.mu.Lock()
	defer c.mu.Unlock()
	signature = chirpSignature(raw)
	c.told[signature] = "signature"
	return string(raw), signature
}

type chirpNotice struct {
	Account, Post string
	At            time.Time
}

func chirpSignature(body []byte) string {
	mac := hmac.New(sha256.New, []byte(ChirpSecret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
