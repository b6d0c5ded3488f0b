package instagram

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// ReadCallback verifies Meta's signed_request: a person has removed our app, or
// asks that their data be deleted. It does not say which of the two, and names
// the person by the app-scoped id. No webhook of Instagram tells of posts.
func (c *Connector) ReadCallback(r connectors.CallbackRequest) (connectors.Callback, error) {
	if r.Kind != connectors.CallbackDeauthorize && r.Kind != connectors.CallbackDeletion {
		return connectors.Callback{}, connectors.ErrNoCallback
	}
	if err := c.app.configured(); err != nil {
		return connectors.Callback{}, err
	}
	payload, err := c.verified(r.Body)
	if err != nil {
		return connectors.Callback{}, fmt.Errorf("read signed_request: %w", err)
	}
	cb, err := readPayload(payload)
	if err != nil {
		return connectors.Callback{}, fmt.Errorf("read signed_request: %w", err)
	}
	sum := sha256.Sum256([]byte(payload))
	cb.Kind, cb.ID = r.Kind, hex.EncodeToString(sum[:])
	return cb, nil
}

// The errors of a signed_request. They quote nothing of it.
var (
	errBadForm    = errors.New("the body is no form")
	errBadPayload = errors.New("the payload is no JSON object in base64url with a user_id")
)

// verified returns the payload part of the form field, as it was signed:
// base64url of a signature, a dot, base64url of an object.
func (c *Connector) verified(body []byte) (string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", errBadForm
	}
	signature, payload, _ := strings.Cut(form.Get("signed_request"), ".")
	got, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(signature, "="))
	mac := hmac.New(sha256.New, []byte(c.app.secret.Reveal()))
	mac.Write([]byte(payload))
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return "", connectors.ErrForged
	}
	return payload, nil
}

// readPayload reads what was signed. Another algorithm than the one that it was
// verified with is refused, as Meta's pages ask for.
func readPayload(payload string) (connectors.Callback, error) {
	var p struct {
		Algorithm string      `json:"algorithm"`
		IssuedAt  json.Number `json:"issued_at"`
		User      answer.ID   `json:"user_id"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil || json.Unmarshal(raw, &p) != nil {
		return connectors.Callback{}, errBadPayload
	}
	if !strings.EqualFold(p.Algorithm, "HMAC-SHA256") {
		return connectors.Callback{}, connectors.ErrForged
	}
	if p.User == "" {
		return connectors.Callback{}, errBadPayload
	}
	cb := connectors.Callback{AccountKeys: []string{string(p.User)}}
	if at := number(p.IssuedAt); at > 0 {
		cb.IssuedAt = time.Unix(int64(at), 0)
	}
	return cb, nil
}
