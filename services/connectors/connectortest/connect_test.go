package connectortest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

const toySecret = "toy-client-secret"

// toyLogin is a provider that people log in at: a code for a token, and who it
// is. It calls with a signature in a header.
type toyLogin struct {
	mu     sync.Mutex
	n      int
	codes  map[string]string // to scopes
	tokens map[string]bool   // living
}

func newToyLogin() *toyLogin { return &toyLogin{codes: map[string]string{}, tokens: map[string]bool{}} }

func (l *toyLogin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.URL.Path == "/token":
		code := r.PostFormValue("code")
		scopes, ok := l.codes[code]
		delete(l.codes, code)
		if !ok || r.PostFormValue("redirect_uri") != "https://we.example/back" {
			http.Error(w, "no such code "+code, http.StatusBadRequest)
			return
		}
		l.n++
		token := fmt.Sprintf("toy-token-%d", l.n)
		l.tokens[token] = true
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token, "scope": scopes})
	case !l.tokens[token]:
		http.Error(w, "dead", http.StatusUnauthorized)
	case r.URL.Path == "/revoke":
		l.tokens[token] = false
	default:
		_, _ = fmt.Fprint(w, `{"id":"toy-1"}`)
	}
}

func (l *toyLogin) bench() ConnectBench {
	return ConnectBench{
		Handler: l, RedirectURI: "https://we.example/back", AccountID: "toy-1",
		Decide: func(_ testing.TB, authorizeURL string, deny ...string) *url.URL {
			l.mu.Lock()
			defer l.mu.Unlock()
			u, _ := url.Parse(authorizeURL)
			l.n++
			code := fmt.Sprintf("toy-code-%d", l.n)
			scopes := slices.DeleteFunc([]string{"read", "write"}, func(s string) bool { return slices.Contains(deny, s) })
			l.codes[code] = strings.Join(scopes, " ")
			return &url.URL{RawQuery: url.Values{"code": {code}, "state": {u.Query().Get("state")}}.Encode()}
		},
		Works: func(token string) bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.tokens[token]
		},
		Kill: func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			clear(l.tokens)
		},
		Secrets: func() []string {
			l.mu.Lock()
			defer l.mu.Unlock()
			list := []string{toySecret}
			for token := range l.tokens {
				list = append(list, token)
			}
			return list
		},
		Call: func(_ testing.TB, kind string, forged bool) []connectors.CallbackRequest {
			key := toySecret
			if forged {
				key = "another"
			}
			body := []byte(`{"user":"toy-1","event":"` + kind + `"}`)
			return []connectors.CallbackRequest{{Kind: kind, Body: body, Header: http.Header{"Sig": {toySign(key, body)}}}}
		},
	}
}

func toySign(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// toyAuth is a connector for it that can be bad.
type toyAuth struct {
	toy
	configured bool
}

func (a *toyAuth) PKCE() bool { return false }

func (a *toyAuth) ready() error {
	if !a.configured {
		return fmt.Errorf("TOY_CLIENT_ID: %w", connectors.ErrNotConfigured)
	}
	return nil
}

func (a *toyAuth) AuthorizeURL(_ context.Context, r connectors.AuthorizeRequest) (string, error) {
	if a.bad == "puts the secret into the address" {
		return a.base + "/authorize?state=" + r.State + "&client_secret=" + toySecret, a.ready()
	}
	return a.base + "/authorize?state=" + r.State, a.ready()
}

// get asks with a token.
func (a *toyAuth) get(ctx context.Context, path, token string, out any) error {
	resp, err := a.client.Do(ctx, connectors.Request{Name: path, Method: http.MethodGet, URL: a.base + path, Token: connectors.NewSecret(token)})
	if err != nil {
		return err
	}
	return a.judge(resp, out)
}

func (a *toyAuth) judge(resp *connectors.Response, out any) error {
	e := &connectors.Error{Kind: connectors.KindRetry, Code: connectors.CodeUnavailable, Call: resp.Call}
	switch {
	case resp.Status == http.StatusBadRequest, resp.Status == http.StatusUnauthorized:
		e.Kind, e.Code = connectors.KindReject, connectors.CodeReauthRequired
		if a.bad == "quotes the answer" {
			e.Message = string(resp.Body)
		}
		if a.bad == "knows no error" {
			return fmt.Errorf("status %d", resp.Status)
		}
	case resp.Status == http.StatusOK && (out == nil || json.Unmarshal(resp.Body, out) == nil):
		return nil
	}
	return e
}

func (a *toyAuth) Exchange(ctx context.Context, x connectors.Exchange) (g connectors.Grant, err error) {
	if err := a.ready(); err != nil && a.bad != "needs no settings" {
		return g, err
	}
	r := connectors.Request{Name: "token", Method: http.MethodPost, URL: a.base + "/token", Form: url.Values{"code": {x.Code.Reveal()}, "redirect_uri": {x.RedirectURI}}}
	resp, err := a.client.Do(ctx, r)
	if err != nil && a.bad == "sends the code again" {
		resp, err = a.client.Do(ctx, r)
	}
	if err != nil {
		return g, err
	}
	var out struct{ Token, Scope string }
	if err := a.judge(resp, &out); err != nil {
		return g, err
	}
	g = connectors.Grant{AccessToken: connectors.NewSecret(out.Token), Scope: out.Scope}
	for _, s := range []string{"read", "write"} {
		if !strings.Contains(out.Scope, s) && a.bad != "overlooks what is missing" {
			g.Missing = append(g.Missing, s)
		}
	}
	if len(g.Missing) > 0 {
		return g, nil
	}
	return a.Import(ctx, g)
}

func (a *toyAuth) Import(ctx context.Context, given connectors.Grant) (connectors.Grant, error) {
	var me struct{ ID string }
	if err := a.get(ctx, "/me", given.AccessToken.Reveal(), &me); err != nil {
		return connectors.Grant{}, err
	}
	if given.ProviderAccountID != "" && given.ProviderAccountID != me.ID && a.bad != "believes what it is given" {
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeValidation}
	}
	g := connectors.Grant{
		AccessToken: given.AccessToken, ProviderAccountID: me.ID, Username: "toy", Scope: "read write", ExpiresIn: time.Hour, RefreshIn: time.Minute,
	}
	switch a.bad {
	case "refreshes too late":
		g.RefreshIn = 2 * time.Hour
	case "keeps a token beside":
		g.Metadata = json.RawMessage(fmt.Sprintf(`{"token":%q}`, g.AccessToken.Reveal()))
	}
	return g, nil
}

func (a *toyAuth) Revoke(ctx context.Context, acct connectors.Account, _ connectors.Secret) error {
	if a.bad == "only says that it revokes" {
		return nil
	}
	err := a.get(ctx, "/revoke", acct.AccessToken.Reveal(), nil)
	if e := connectors.AsError(err); err != nil && e.Code == connectors.CodeReauthRequired {
		return nil
	}
	return err
}

func (a *toyAuth) ReadCallback(r connectors.CallbackRequest) (connectors.Callback, error) {
	if err := a.ready(); err != nil {
		return connectors.Callback{}, err
	}
	if r.Kind != connectors.CallbackWebhook && a.bad != "takes every kind" {
		return connectors.Callback{}, connectors.ErrNoCallback
	}
	good := hmac.Equal([]byte(r.Header.Get("Sig")), []byte(toySign(toySecret, r.Body)))
	if !good && a.bad != "believes everybody" {
		if a.bad == "quotes a forgery" {
			return connectors.Callback{}, fmt.Errorf("%s: %w", r.Body, connectors.ErrForged)
		}
		return connectors.Callback{}, connectors.ErrForged
	}
	var body struct{ User string }
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return connectors.Callback{}, fmt.Errorf("read body: not JSON")
	}
	sum := sha256.Sum256(r.Body)
	cb := connectors.Callback{Kind: r.Kind, ID: hex.EncodeToString(sum[:]), AccountKeys: []string{body.User}}
	if a.bad == "names calls at random" {
		cb.ID = time.Now().String()
	}
	return cb, nil
}

// toyConnect is the suite for a toy connector.
func toyConnect(bad string) Connect {
	return Connect{
		New:    func(*testing.T) ConnectBench { return newToyLogin().bench() },
		Spends: "POST /token", Scopes: []string{"read", "write"}, Callbacks: []string{connectors.CallbackWebhook},
		Connector: func(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
			return &toyAuth{toy{base: base, client: c, bad: bad}, configured}, nil
		},
	}
}

func TestGoodAuthorizerPasses(t *testing.T) {
	t.Parallel()
	toyConnect("").Run(t)
}

func TestBadAuthorizerIsFoundOut(t *testing.T) {
	t.Parallel()
	type check func(Connect) func(*connecting)
	breaks := func(trouble Trouble) check {
		return func(c Connect) func(*connecting) { return func(b *connecting) { c.breaks(b, 1, trouble) } }
	}
	connects := func(c Connect) func(*connecting) { return c.connects }
	replays := func(c Connect) func(*connecting) { return c.replays }
	believes := func(c Connect) func(*connecting) { return c.believes }
	refuses := func(c Connect) func(*connecting) { return c.refuses }
	for bad, tc := range map[string]struct {
		run  check
		want string
	}{
		"puts the secret into the address": {connects, "a secret is shown"},
		"sends the code again":             {breaks(AnswerLost), "sent the code 2 times"},
		"knows nobody by the state":        {func(c Connect) func(*connecting) { c.Rereads = true; return c.replays }, "another state: no error"},
		"quotes the answer":                {replays, "a secret is shown"},
		"knows no error":                   {replays, "an error of kind unknown"},
		"refreshes too late":               {connects, "a refresh after its end"},
		"keeps a token beside":             {connects, "metadata with a secret"},
		"overlooks what is missing":        {func(c Connect) func(*connecting) { return c.leavesOut }, "without read: missing []"},
		"needs no settings":                {func(c Connect) func(*connecting) { return c.unconfigured }, "without client settings"},
		"believes what it is given":        {func(c Connect) func(*connecting) { return c.imports }, "import for another account: no error"},
		"only says that it revokes":        {func(c Connect) func(*connecting) { return c.revokes }, "the token works on"},
		"takes every kind":                 {believes, "a kind that there is not"},
		"names calls at random":            {believes, "the same call has another id"},
		"believes everybody":               {refuses, "forgery 0"},
		"quotes a forgery":                 {refuses, "the error quotes the body"},
	} {
		t.Run(bad, func(t *testing.T) {
			t.Parallel()
			rec := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				c := toyConnect(bad)
				b := c.setup(t, rec, 30*time.Second)
				tc.run(c)(b)
				b.check()
			}()
			<-done
			if said := strings.Join(rec.said, "\n"); !strings.Contains(said, tc.want) {
				t.Errorf("said %q", said)
			}
		})
	}
}
