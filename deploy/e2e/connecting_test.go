package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postbus.dev/deploy/e2e/contract"
	"postbus.dev/deploy/e2e/world"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
)

func html(c *contract.Call) { c.Header.Set("Accept", "text/html") }

// goes begins connecting, by a key and by a link.
func (p *party) goes(good contract.Call) {
	p.answers(good, 303)
	p.refused("an address that nobody may be sent to", good.With(query("returnTo", "https://elsewhere.example/")), 400)
	nobody := good.With(key(""))
	p.refused("neither key nor link", nobody, 401)
	p.refused("a browser without a link", nobody.With(html), 404)
	p.refused("a link of nobody", nobody.With(query("link", contract.Marker+strings.Repeat("l", 28))), 404)
	made, err := url.Parse(fmt.Sprint(p.data(p.of("make-connect-link", "", "{}"), 201)["url"]))
	if err != nil {
		p.Fatal(err)
	}
	link := nobody.With(query("link", made.Query().Get("link")))
	p.refused("a link of another provider", link.With(path("provider", "chirp")), 404)
	p.refused("a link with a user", link.With(query("userId", "somebody-else")), 400)
	p.answers(link, 303)
	back, _ := p.consents(link, p.atProvider(p.user))
	p.answers(back, 200)
	p.refused("a link that was used", link, 410)
}

// begins goes to a provider and returns what the browser holds: the address of
// the provider's page and a cookie.
func (p *party) begins(start contract.Call) (page, cookie string) {
	p.Helper()
	x := p.answers(start, 303)
	cookies := (&http.Response{Header: x.Header}).Cookies()
	if len(cookies) != 1 {
		p.Fatalf("%d cookies: %v", len(cookies), x)
	}
	return x.Header.Get("Location"), cookies[0].Name + "=" + cookies[0].Value
}

// consents goes to Instagram, where a person allows everything, and returns the
// call with which the browser comes back, with its cookie and without.
func (p *party) consents(start contract.Call, at stage.Account) (back, stranger contract.Call) {
	p.Helper()
	page, cookie := p.begins(start)
	browser := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	u, err := sandbox.Person{Account: at.ID}.Decide(p.Context(), browser, page)
	if err != nil {
		p.Fatal(err)
	}
	stranger = p.of("connect-callback", "", "").With(key(""))
	stranger.Query = u.Query()
	return stranger.With(header("Cookie", cookie)), stranger
}

// comingBack is a callback of a person who has allowed everything.
func comingBack(p *party) contract.Call {
	back, _ := p.consents(p.of("connect", "", ""), p.atProvider(p.user))
	return back
}

// comesBack ends connecting, in all ways that a browser can.
func (p *party) comesBack(good contract.Call) {
	p.refused("another browser", good.With(func(c *contract.Call) { c.Header.Del("Cookie") }), 403)
	p.refused("no state", good.With(func(c *contract.Call) { c.Query.Del("state") }), 400)
	p.refused("a state of nobody", good.With(query("state", contract.Marker+strings.Repeat("s", 28))), 400)
	p.refused("another provider's state", good.With(path("provider", "chirp")), 400)
	p.refused("a code and an error", good.With(query("error", "access_denied")), 400)
	p.answers(good, 200)
	p.refused("the same once more", good, 409)
	denied := comingBack(p)
	denied.Query.Del("code")
	p.refused("a person who declines", denied.With(query("error", "access_denied")), 403)
	p.refused("a code of nobody", comingBack(p).With(query("code", contract.Marker+"code")), 400)
	p.refused("somebody else's account", p.takesAnothers(), 409)
	p.comesBackFromChirp()
}

// takesAnothers comes back with an account that another user has connected.
func (p *party) takesAnothers() contract.Call {
	p.create("owner")
	_, at := p.account("owner")
	back, _ := p.consents(p.of("connect", "", ""), at)
	return back
}

// comesBackFromChirp is the way with PKCE, and back to where the person came from.
func (p *party) comesBackFromChirp() {
	before := p.d.Chirp.Verified()
	page, cookie := p.begins(p.of("connect", "", "").With(path("provider", "chirp")).With(query("returnTo", returnTo)))
	at, err := p.d.Chirp.Consent(page, p.user)
	if err != nil {
		p.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		p.Fatal(err)
	}
	back := p.call("", "").With(path("provider", "chirp")).With(header("Cookie", cookie))
	back.Key, back.Query = "", u.Query()
	x := p.answers(back, 303)
	if !strings.HasPrefix(x.Header.Get("Location"), returnTo+"?") || p.d.Chirp.Verified() != before+1 {
		p.Errorf("sent to %s, %d codes verified", x.Header.Get("Location"), p.d.Chirp.Verified()-before)
	}
}

// signed is a provider's call about an account, as it is signed with a secret.
func (p *party) signed(kind, account, secret string, made time.Time) contract.Call {
	part := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"algorithm":"HMAC-SHA256","issued_at":%d,"user_id":%q}`, made.Unix(), account))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(part))
	form := url.Values{"signed_request": {base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + part}}
	c := p.of("provider-callback", "", form.Encode()).With(path("kind", kind)).With(header("Content-Type", "application/x-www-form-urlencoded"))
	c.Key = ""
	return c
}

func (p *party) secret() string {
	return sandbox.LocalClient("instagram", p.d.URL).Secret
}

// removal is what Instagram sends when a person removes the app.
func removal(p *party) contract.Call {
	_, at := p.account(p.user)
	return p.signed("deauthorize", at.AppID, p.secret(), time.Now())
}

func (p *party) isCalled(good contract.Call) {
	p.answers(good, 200)
	p.answers(good, 200) // a copy is answered alike, and does nothing
	_, at := p.account(p.user)
	p.refused("forged", p.signed("deauthorize", at.AppID, contract.Marker+"secret", time.Now()), 403)
	p.refused("made long ago", p.signed("deauthorize", at.AppID, p.secret(), time.Now().Add(-8*24*time.Hour)), 403)
	p.refused("of nobody", p.signed("deauthorize", "", p.secret(), time.Now()), 400)
	p.refused("of a kind that Instagram has not", p.signed("webhook", at.AppID, p.secret(), time.Now()), 404)
	p.answers(p.signed("deletion", at.AppID, p.secret(), time.Now()), 200)
	text, signature := p.d.Chirp.Webhook(p.user, "post-1")
	webhook := p.call("", text).With(path("provider", "chirp")).With(path("kind", "webhook"))
	webhook.Key = ""
	p.answers(webhook.With(header("Chirp-Signature", signature)), 200)
	p.refused("a webhook that is not signed", webhook, 403)
}

func challenge(p *party) contract.Call {
	c := p.call("", "").With(path("provider", "chirp")).With(query("challenge", "answer-this", "token", world.ChirpSecret))
	c.Key = ""
	return c
}

func (p *party) isChallenged(good contract.Call) {
	if x := p.answers(good, 200); string(x.Body) != "answer-this" {
		p.Error(x)
	}
	p.refused("without our secret", good.With(query("token", contract.Marker+"token")), 403)
	p.refused("of a provider that has no webhooks", good.With(path("provider", "instagram")), 404)
}

// deletion is the page of a deletion that was asked for.
func deletion(p *party) contract.Call {
	_, at := p.account(p.user)
	var told struct {
		Code string `json:"confirmation_code"`
	}
	if x := p.answers(p.signed("deletion", at.AppID, p.secret(), time.Now()), 200); x.JSON(&told) != nil || told.Code == "" {
		p.Fatal(x)
	}
	c := p.call("", "").With(path("code", told.Code))
	c.Key = ""
	return c
}
