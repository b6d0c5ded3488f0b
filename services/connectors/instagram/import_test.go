package instagram

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

func (b *bench) importToken(given connectors.Grant) (connectors.Grant, error) {
	b.t.Helper()
	given.AccessToken = connectors.NewSecret(testToken)
	return b.c.Import(context.Background(), given)
}

func TestAnImportedTokenIsVerifiedByWhoItBelongsToAndWhatItMayDo(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	g, err := b.importToken(connectors.Grant{ProviderAccountID: testUser, Scope: "instagram_business_basic instagram_business_manage_insights", ExpiresIn: 20 * day})
	if err != nil {
		t.Fatal(err)
	}
	if g.ProviderAccountID != testUser || g.Username != "ada" || g.AccessToken.Reveal() != testToken || len(g.Missing) > 0 ||
		g.Scope != bothScopes+",instagram_business_manage_insights" || string(g.Metadata) != `{"callback_id":"`+appScoped+`","account_type":"business"}` {
		t.Errorf("got %+v", g)
	}
	if got := b.keys(); !slices.Equal(got, []string{mePath, limitPath}) {
		t.Errorf("asked %v", got)
	}
	for i, q := range b.requests() {
		if b.headers[i].Get("Authorization") != "Bearer "+testToken || len(q.form) > 0 || q.query.Has("access_token") {
			t.Errorf("%s: %v %v", q.path, b.headers[i], q.query)
		}
	}
	if got := b.requests()[1].query; fmt.Sprint(got) != fmt.Sprint(url.Values{"fields": {"quota_usage,config"}}) {
		t.Errorf("limit asked with %v", got)
	}
}

func TestAnImportNeedsNoClientSettings(t *testing.T) {
	t.Parallel()
	b := setupWith(t, Config{})
	b.on(mePath, reply{body: `{"id":"1","user_id":"` + testUser + `","username":"ada"}`}).on(limitPath, reply{body: `{"data":[{"quota_usage":2}]}`})
	if _, err := b.importToken(connectors.Grant{}); err != nil {
		t.Error(err)
	}
}

func TestAnImportThatInstagramContradictsIsRefused(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	_, err := b.importToken(connectors.Grant{ProviderAccountID: "1"})
	if e := wantError(t, err, connectors.KindReject); e.Code != connectors.CodeValidation {
		t.Errorf("another account: %+v", e)
	}
	b.on(mePath, graphError(190, 0))
	_, err = b.importToken(connectors.Grant{})
	if e := wantError(t, err, connectors.KindReject); e.Code != connectors.CodeReauthRequired {
		t.Errorf("a dead token: %+v", e)
	}
	b.on(mePath, reply{status: 503})
	_, err = b.importToken(connectors.Grant{})
	wantError(t, err, connectors.KindRetry)
}

func TestAnImportedTokenThatMayNotPublishSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.on(limitPath, graphError(10, 0))
	g, err := b.importToken(connectors.Grant{Scope: bothScopes})
	if err != nil || !slices.Equal(g.Missing, []string{scopePublish}) {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestAnImportedTokenIsRefreshedWhenItIsOldEnough(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration][2]time.Duration{
		0:                    {60 * day, refreshAge}, // nobody said: it may be new
		60 * day:             {60 * day, 50 * day},
		40 * day:             {40 * day, 30 * day},
		5 * day:              {5 * day, time.Minute},
		time.Hour:            {time.Hour, time.Minute},
		-time.Hour:           {60 * day, refreshAge},
		400 * day:            {60 * day, 50 * day},
		60*day - 2*time.Hour: {60*day - 2*time.Hour, 50*day - 2*time.Hour},
	} {
		b := setupConnect(t)
		g, err := b.importToken(connectors.Grant{ExpiresIn: left})
		if err != nil || g.ExpiresIn != want[0] || g.RefreshIn != want[1] {
			t.Errorf("%v left: got %v %v, %v", left, g.ExpiresIn, g.RefreshIn, err)
		}
	}
}

func TestRevokeEndsAGrantOrSaysWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	const done = connectors.Kind(100)
	for name, tc := range map[string]struct {
		reply reply
		want  connectors.Kind
	}{
		"success":                  {reply{body: `{"success":true}`}, done},
		"removed already":          {graphError(190, 458), done},
		"expired":                  {graphError(190, 0), done},
		"session invalid":          {graphError(102, 0), done},
		"checkpoint, which passes": {graphError(190, 459), connectors.KindReauthorize},
		"unconfirmed user":         {graphError(190, 464), connectors.KindReauthorize},
		"no such call":             {graphError(100, 0), connectors.KindReject},
		"permission":               {graphError(10, 0), connectors.KindReauthorize},
		"no success":               {reply{body: `{"success":false}`}, connectors.KindRetry},
		"empty":                    {reply{}, connectors.KindRetry},
		"500":                      {reply{status: 500}, connectors.KindRetry},
		"limit":                    {graphError(80002, 0), connectors.KindWait},
	} {
		b := setupConnect(t)
		b.on("DELETE /me/permissions", tc.reply)
		err := b.c.Revoke(context.Background(), b.account, connectors.Secret{})
		if tc.want == done {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if e := wantError(t, err, tc.want); e.Call.Name != callRevoke {
			t.Errorf("%s: %+v", name, e)
		}
		q := b.requests()[0]
		if b.headers[0].Get("Authorization") != "Bearer "+testToken || len(q.query) > 0 || len(q.form) > 0 {
			t.Errorf("asked %+v", q)
		}
	}
}

func TestRevokeWithoutATokenDoesNotClaimToHaveRevoked(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	if err := b.c.Revoke(context.Background(), connectors.Account{}, connectors.Secret{}); err == nil || len(b.requests()) > 0 {
		t.Errorf("got %v after %v", err, b.keys())
	}
}
