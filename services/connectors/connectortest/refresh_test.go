package connectortest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// toyGrants is a provider of one grant: a refresh ends the token that it is made
// with, if it rotates.
type toyGrants struct {
	rotates bool

	mu      sync.Mutex
	n       int
	refresh string
	access  map[string]bool // every token, whether it lives
	dead    bool
	secret  string // our client's
	limited bool
}

func (p *toyGrants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.limited:
		w.WriteHeader(http.StatusTooManyRequests)
	case r.PostFormValue("secret") != p.secret:
		w.WriteHeader(http.StatusForbidden)
	case p.dead, r.PostFormValue("token") != p.refresh:
		http.Error(w, "no such token "+r.PostFormValue("token"), http.StatusBadRequest)
	case r.URL.Path == "/check":
		_, _ = fmt.Fprint(w, `{"fine":true}`)
	default:
		p.n++
		access := fmt.Sprintf("toy-access-%d", p.n)
		p.access[access] = true
		if p.rotates {
			p.refresh = fmt.Sprintf("toy-refresh-%d", p.n)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": access, "refresh_token": p.refresh, "fine": true})
	}
}

// with does something to the provider.
func (p *toyGrants) with(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *toyGrants) bench() RefreshBench {
	switched := func(set func(on bool)) func() func() {
		return func() func() {
			p.with(func() { set(true) })
			return func() { p.with(func() { set(false) }) }
		}
	}
	return RefreshBench{
		Handler: p, RefreshToken: connectors.NewSecret(p.refresh),
		Kill: switched(func(on bool) { p.dead = on }), Throttle: switched(func(on bool) { p.limited = on }),
		Rekey: switched(func(on bool) { p.secret = map[bool]string{true: "another", false: toySecret}[on] }),
		Works: func(token string) (lives bool) { p.with(func() { lives = p.access[token] }); return lives },
		Secrets: func() (list []string) {
			p.with(func() {
				list = []string{toySecret, p.refresh}
				for token := range p.access {
					list = append(list, token)
				}
			})
			return list
		},
	}
}

// toyKeeper is a connector for it that can be bad.
type toyKeeper struct {
	toy
	rotates, configured bool
}

func (k *toyKeeper) RefreshRule() connectors.RefreshRule {
	rule := connectors.RefreshRule{Call: time.Second}
	if k.rotates {
		rule = connectors.RefreshRule{Rotates: true, Call: time.Second, UserTO: time.Second, Settle: 2 * time.Second}
	}
	if k.bad == "settles at once" {
		rule.Settle = 0
	}
	return rule
}

func (k *toyKeeper) Refresh(ctx context.Context, _ connectors.Account, refresh connectors.Secret) (connectors.Grant, error) {
	if refresh.Empty() {
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReauthorize, Code: connectors.CodeReauthRequired, Reason: connectors.ReasonExpired}
	}
	resp, err := k.send(ctx, "/refresh", refresh)
	if err != nil && k.bad == "sends it again" {
		resp, err = k.client.Do(ctx, k.request("/refresh", refresh))
	}
	if err != nil {
		return connectors.Grant{}, err
	}
	var out struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := k.judge(resp, &out); err != nil {
		return connectors.Grant{}, err
	}
	if out.Access == "" && k.bad != "keeps an empty token" {
		return connectors.Grant{}, k.judge(&connectors.Response{}, nil)
	}
	g := connectors.Grant{AccessToken: connectors.NewSecret(out.Access), RefreshToken: connectors.NewSecret(out.Refresh), ExpiresIn: time.Hour, RefreshIn: time.Minute}
	switch k.bad {
	case "refreshes too late":
		g.RefreshIn = 2 * time.Hour
	case "loses the new token":
		g.RefreshToken = connectors.Secret{}
	}
	return g, nil
}

func (k *toyKeeper) request(path string, token connectors.Secret) connectors.Request {
	return connectors.Request{
		Name: path, Method: http.MethodPost, URL: k.base + path, Form: url.Values{"token": {token.Reveal()}, "secret": {toySecret}},
	}
}

func (k *toyKeeper) send(ctx context.Context, path string, token connectors.Secret) (*connectors.Response, error) {
	if !k.configured && k.bad != "needs no settings" {
		return nil, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, Err: connectors.ErrNotConfigured}
	}
	if k.rotates && k.bad != "sends what is not armed" {
		return k.client.Commit(ctx, k.request(path, token))
	}
	return k.client.Do(ctx, k.request(path, token))
}

func (k *toyKeeper) judge(resp *connectors.Response, out any) error {
	e := &connectors.Error{Kind: connectors.KindRetry, Code: connectors.CodeUnavailable, Call: resp.Call}
	if k.rotates && k.bad != "takes a lost answer for none" {
		e.Kind = connectors.KindUnknown
	}
	switch {
	case resp.Status == http.StatusTooManyRequests:
		e.Kind, e.Code, e.Reason, e.Scope, e.Wait = connectors.KindWait, connectors.CodeRateLimited, connectors.ReasonRateLimit, connectors.ScopeClient, time.Minute
		if k.bad == "waits for nobody" {
			e.Scope = ""
		}
	case resp.Status == http.StatusForbidden:
		e.Kind, e.Code = connectors.KindReject, connectors.CodeInternal
		if k.bad == "blames the person" {
			e.Kind = connectors.KindReauthorize
		}
	case resp.Status == http.StatusBadRequest:
		e.Kind, e.Code, e.Reason = connectors.KindReauthorize, connectors.CodeReauthRequired, connectors.ReasonInvalidGrant
		switch k.bad {
		case "quotes the answer":
			e.Message = string(resp.Body)
		case "gives no reason":
			e.Reason = ""
		case "never gives up":
			e.Kind = connectors.KindRetry
		}
	case resp.Status == http.StatusOK && json.Unmarshal(resp.Body, out) == nil:
		return nil
	case k.bad == "gives up at once":
		e.Kind, e.Code, e.Reason = connectors.KindReauthorize, connectors.CodeReauthRequired, connectors.ReasonRevoked
	}
	return e
}

// toyChecker has nothing to refresh.
type toyChecker struct{ k *toyKeeper }

func (c *toyChecker) Provider() string { return c.k.Provider() }

func (c *toyChecker) Check(ctx context.Context, a connectors.Account) (time.Duration, error) {
	resp, err := c.k.send(ctx, "/check", connectors.NewSecret(a.ProviderAccountID))
	if err != nil {
		return 0, err
	}
	var out struct{ Fine bool }
	if err := c.k.judge(resp, &out); err != nil {
		return 0, err
	}
	if !out.Fine && c.k.bad != "believes anything" {
		return 0, &connectors.Error{Kind: connectors.KindRetry, Code: connectors.CodeUnavailable}
	}
	return map[bool]time.Duration{true: 0, false: time.Hour}[c.k.bad == "never asks again"], nil
}

// toyRefresh is the suite for a toy: "rotating", "lasting" or "checked".
func toyRefresh(sort, bad string) Refresh {
	return Refresh{
		New: func(*testing.T) RefreshBench {
			p := &toyGrants{rotates: sort == "rotating", refresh: "toy-refresh-0", access: map[string]bool{}, secret: toySecret}
			b := p.bench()
			b.Account = connectors.Account{ProviderAccountID: p.refresh}
			return b
		},
		Connector: func(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
			k := &toyKeeper{toy{base: base, client: c, bad: bad}, sort == "rotating", configured}
			if sort == "checked" {
				return &toyChecker{k}, nil
			}
			return k, nil
		},
	}
}

func TestGoodRefreshersAndCheckersPass(t *testing.T) {
	t.Parallel()
	for _, sort := range []string{"rotating", "lasting", "checked"} {
		t.Run(sort, func(t *testing.T) {
			t.Parallel()
			toyRefresh(sort, "").Run(t)
		})
	}
}

func TestBadRefreshersAreFoundOut(t *testing.T) {
	t.Parallel()
	breaks := func(trouble Trouble) func(*keeping) { return func(b *keeping) { b.breaks(trouble) } }
	for bad, tc := range map[string]struct {
		sort string
		run  func(*keeping)
		want string
	}{
		"settles at once":              {"rotating", (*keeping).lives, "a rule that makes no sense"},
		"refreshes too late":           {"lasting", (*keeping).lives, "asked again after its end"},
		"loses the new token":          {"rotating", (*keeping).lives, "no new refresh token"},
		"sends it again":               {"lasting", breaks(AnswerLost), "2 times instead of 1"},
		"keeps an empty token":         {"lasting", breaks(AnswerWithoutToken), "no error"},
		"takes a lost answer for none": {"rotating", breaks(ErrorAfter), "an error of kind retry"},
		"gives up at once":             {"lasting", breaks(ErrorBefore), "an error of kind reauthorize"},
		"sends what is not armed":      {"rotating", (*keeping).arming, "not armed: "},
		"quotes the answer":            {"lasting", (*keeping).killed, "a secret is shown"},
		"gives no reason":              {"lasting", (*keeping).killed, `for reason ""`},
		"never gives up":               {"checked", (*keeping).killed, "an error of kind retry"},
		"blames the person":            {"rotating", (*keeping).rekeyed, "an error of kind reauthorize"},
		"waits for nobody":             {"lasting", (*keeping).throttled, `"" waits 1m0s`},
		"needs no settings":            {"lasting", (*keeping).unconfigured, "without client settings"},
		"believes anything":            {"checked", breaks(AnswerBare), "no error"},
		"never asks again":             {"checked", (*keeping).lives, "never asked again"},
	} {
		t.Run(bad, func(t *testing.T) {
			t.Parallel()
			rec := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				b := toyRefresh(tc.sort, bad).setup(t, rec, time.Minute)
				defer b.check()
				tc.run(b)
			}()
			<-done
			if said := strings.Join(rec.said, "\n"); !strings.Contains(said, tc.want) {
				t.Errorf("said %q", said)
			}
		})
	}
}
