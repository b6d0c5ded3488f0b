package world

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"postbus.dev/services/connectors"
)

// chirpVariable names where Chirp is to an account service.
const chirpVariable = "CHIRP_URL"

// chirpConnector is Chirp's connector. Nothing asks it to publish.
type chirpConnector struct {
	connectors.Publisher
	client *connectors.Client
	url    string
}

var (
	_ connectors.Authorizer     = chirpConnector{}
	_ connectors.CallbackReader = chirpConnector{}
)

// chirpConnectors are the connectors of an account service beside its own.
func chirpConnectors(address string) func(*connectors.Client) map[string]connectors.Connector {
	return func(c *connectors.Client) map[string]connectors.Connector {
		return map[string]connectors.Connector{"chirp": chirpConnector{client: c, url: address}}
	}
}

// PKCE is what Chirp is there for.
func (chirpConnector) PKCE() bool { return true }

// AuthorizeURL is a page that nobody serves: Chirp.Consent reads its address.
func (c chirpConnector) AuthorizeURL(_ context.Context, r connectors.AuthorizeRequest) (string, error) {
	q := url.Values{"state": {r.State}, "redirect_uri": {r.RedirectURI}, "code_challenge": {r.Challenge}}
	return c.url + "/authorize?" + q.Encode(), nil
}

// Exchange spends a code.
func (c chirpConnector) Exchange(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	resp, err := c.client.Do(ctx, connectors.Request{
		Name: "token", Method: http.MethodPost, URL: c.url + "/token", Route: "/token",
		Form: url.Values{"code": {x.Code.Reveal()}, "verifier": {x.Verifier.Reveal()}, "redirect": {x.RedirectURI}},
	})
	if err != nil {
		return connectors.Grant{}, err
	}
	var t chirpTokens
	if resp.Status != http.StatusOK || json.Unmarshal(resp.Body, &t) != nil {
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, Call: resp.Call}
	}
	return connectors.Grant{
		ProviderAccountID: t.Account, Username: t.Account, Scope: "post", ExpiresIn: time.Hour,
		AccessToken: connectors.NewSecret(t.Access), RefreshToken: connectors.NewSecret(t.Refresh),
	}, nil
}

// ReadCallback reads a webhook, whose signature covers the body, and the check
// whether an address is ours.
func (chirpConnector) ReadCallback(r connectors.CallbackRequest) (connectors.Callback, error) {
	signed := hmac.Equal([]byte(r.Header.Get("Chirp-Signature")), []byte(chirpSignature(r.Body)))
	var n chirpNotice
	switch challenge := r.Query.Get("challenge"); {
	case r.Kind != connectors.CallbackWebhook:
		return connectors.Callback{}, connectors.ErrNoCallback
	case challenge != "" && r.Query.Get("token") == ChirpSecret:
		return connectors.Callback{Kind: r.Kind, Challenge: challenge}, nil
	case !signed:
		return connectors.Callback{}, connectors.ErrForged
	}
	if err := json.Unmarshal(r.Body, &n); err != nil {
		return connectors.Callback{}, err
	}
	sum := sha256.Sum256(r.Body)
	return connectors.Callback{
		Kind: r.Kind, ID: hex.EncodeToString(sum[:]), IssuedAt: n.At,
		Posts: []connectors.PostNotice{{AccountKey: n.Account, RemoteID: n.Post, Kind: "posted"}},
	}, nil
}
