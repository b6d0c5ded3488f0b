package instagram

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

const refreshPath = "GET /refresh_access_token"

func (b *bench) refresh() (connectors.Grant, error) {
	b.t.Helper()
	return b.c.Refresh(context.Background(), connectors.Account{AccessToken: connectors.NewSecret(testToken)}, connectors.Secret{})
}

func TestATokenIsRefreshedByItself(t *testing.T) {
	t.Parallel()
	b := setupWith(t, Config{})
	b.on(refreshPath, reply{body: `{"access_token":"` + longToken + `","token_type":"bearer","expires_in":5183944}`},
		reply{body: `{"data":[{"access_token":"` + longToken + `"}]}`})
	for _, life := range []time.Duration{5183944 * time.Second, 60 * day} { // as told, and as documented where it is not
		g, err := b.refresh()
		if err != nil || g.AccessToken.Reveal() != longToken || !g.RefreshToken.Empty() || g.ExpiresIn != life || g.RefreshIn != life-10*day {
			t.Errorf("got %+v, %v", g, err)
		}
	}
	if rule := b.c.RefreshRule(); rule.Rotates || rule.Call <= 0 {
		t.Errorf("the rule is %+v", rule)
	}
	want := url.Values{"grant_type": {"ig_refresh_token"}, "access_token": {testToken}}
	for _, q := range b.requests() {
		if fmt.Sprint(q.query) != fmt.Sprint(want) || len(q.form) > 0 {
			t.Errorf("asked with %v and %v", q.query, q.form)
		}
	}
}

func TestARefreshThatFailsSaysWhatItMeansForTheAccount(t *testing.T) {
	t.Parallel()
	kept, gone := connectors.KindRetry, connectors.KindReauthorize
	for name, c := range map[string]struct {
		answer reply
		kind   connectors.Kind
		reason string
	}{
		"5xx":                           {reply{status: 503}, kept, ""},
		"no JSON":                       {reply{body: "<html>"}, kept, ""},
		"no token":                      {reply{body: `{"token_type":"bearer"}`}, kept, ""},
		"401 of whoever stands between": {reply{status: 401, body: "no"}, kept, ""},
		"a transient error":             {graphError(2, 0), kept, ""},
		"a code that nobody knows":      {graphError(4711, 0), kept, ""},
		"less than a day old":           {graphError(100, 0), kept, ""},
		"checkpoint":                    {graphError(190, 459), kept, ""},
		"unconfirmed":                   {graphError(190, 464), kept, ""},
		"unknown trouble":               {graphError(1, 0), kept, ""},
		"rate limit of the account":     {graphError(80002, 0), connectors.KindWait, ""},
		"rate limit of the app":         {graphError(4, 0), connectors.KindWait, ""},
		"rate limit of the user":        {graphError(17, 0), connectors.KindWait, ""},
		"rate limit of the page":        {graphError(32, 0), connectors.KindWait, ""},
		"rate limit of the call":        {graphError(613, 0), connectors.KindWait, ""},
		"our app is refused":            {graphError(101, 0), connectors.KindReject, ""},
		"session over":                  {graphError(102, 0), gone, connectors.ReasonInvalidGrant},
		"invalid":                       {graphError(190, 467), gone, connectors.ReasonInvalidGrant},
		"invalid, in another spelling":  {graphError(467, 0), gone, connectors.ReasonInvalidGrant},
		"no permission at all":          {graphError(200, 0), gone, connectors.ReasonRevoked},
		"expired":                       {graphError(190, 463), gone, connectors.ReasonExpired},
		"expired, in another spelling":  {graphError(463, 0), gone, connectors.ReasonExpired},
		"dead, nobody says why":         {graphError(190, 0), gone, connectors.ReasonInvalidGrant},
		"app removed":                   {graphError(190, 458), gone, connectors.ReasonRevoked},
		"permission taken back":         {graphError(10, 0), gone, connectors.ReasonRevoked},
		"password changed":              {graphError(190, 460), gone, connectors.ReasonSignedOut},
	} {
		b := setupWith(t, Config{})
		b.on(refreshPath, c.answer)
		g, err := b.refresh()
		e := wantError(t, err, c.kind)
		want := c.reason
		if c.kind == connectors.KindWait {
			want = connectors.ReasonRateLimit
		}
		if e.Reason != want || !g.AccessToken.Empty() || (c.kind == connectors.KindReject) != (e.Code == connectors.CodeInternal) {
			t.Errorf("%s: reason %q, want %q, code %q, and %+v", name, e.Reason, want, e.Code, g)
		}
		if waits := c.kind == connectors.KindWait; waits != (e.Scope != "") || waits && e.Wait <= 0 {
			t.Errorf("%s: waits %v at %q", name, e.Wait, e.Scope)
		}
		if name == "less than a day old" && e.Wait < time.Hour {
			t.Errorf("%s: again in %v", name, e.Wait)
		}
	}
}

func TestARefreshWhoseAnswerIsLostIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := setupWith(t, Config{})
	b.check = func(*http.Request) { panic(http.ErrAbortHandler) }
	_, err := b.refresh()
	wantError(t, err, connectors.KindRetry)
}
