package connect

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"sync"

	"github.com/google/uuid"

	"postbus.dev/services/connectors"
)

// provider is a small OAuth provider with PKCE. A person's consent is consent.
type provider struct {
	connectors.Publisher
	pkce bool

	mu        sync.Mutex
	codes     map[string]*code
	exchanges int
	revoked   []connectors.Account
	fail      error                     // what Exchange answers
	authFail  error                     // what AuthorizeURL answers
	during    func(context.Context)     // while a code is being exchanged
	grant     func(g *connectors.Grant) // changes what is granted
	last      connectors.Exchange
}

type code struct {
	account, challenge, redirect string
	spent                        bool
}

func (p *provider) PKCE() bool { return p.pkce }

func (p *provider) AuthorizeURL(_ context.Context, r connectors.AuthorizeRequest) (string, error) {
	q := url.Values{"state": {r.State}, "redirect_uri": {r.RedirectURI}, "challenge": {r.Challenge}}
	return "https://provider.example/authorize?" + q.Encode(), p.authFail
}

// consent is a person with an account who allows it at the page of an address;
// it returns where the provider sends the browser.
func (p *provider) consent(address, account string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	q := u.Query()
	value := "code-" + uuid.NewString()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.codes == nil {
		p.codes = map[string]*code{}
	}
	p.codes[value] = &code{account: account, challenge: q.Get("challenge"), redirect: q.Get("redirect_uri")}
	return q.Get("redirect_uri") + "?" + url.Values{"code": {value}, "state": {q.Get("state")}}.Encode()
}

var errSpent = &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, Message: "code is not valid"}

func (p *provider) Exchange(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exchanges++
	p.last = x
	if p.during != nil {
		p.during(ctx)
	}
	c := p.codes[x.Code.Reveal()]
	if c == nil || c.spent || c.redirect != x.RedirectURI || (p.pkce && challenge(x.Verifier) != c.challenge) || (!p.pkce && !x.Verifier.Empty()) {
		return connectors.Grant{}, errSpent
	}
	c.spent = true
	if p.fail != nil {
		return connectors.Grant{}, p.fail
	}
	g := connectors.Grant{
		ProviderAccountID: c.account, Username: "name of " + c.account, AccessToken: connectors.NewSecret("access-" + c.account),
		RefreshToken: connectors.NewSecret("refresh-" + c.account), Scope: "basic publish", ExpiresIn: 3600e9, RefreshIn: 1800e9,
		Metadata: json.RawMessage(`{"callback_id":"app-` + c.account + `"}`),
	}
	if p.grant != nil {
		p.grant(&g)
	}
	return g, nil
}

func (p *provider) Revoke(_ context.Context, a connectors.Account, _ connectors.Secret) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked = append(p.revoked, a)
	return errors.New("revoking is down")
}

func (p *provider) spent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exchanges
}

func (p *provider) revocations() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.revoked)
}
