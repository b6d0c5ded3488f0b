package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
)

func TestAnErrorOfTheProviderEndsTheStateAndIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for word, want := range map[string]struct {
		status int
		text   string
		code   httpapi.Code
	}{
		"access_denied":           {403, "You did not allow", httpapi.CodeCanceled},
		"server_error":            {502, "does not answer as it should", httpapi.CodeProviderUnavailable},
		"temporarily_unavailable": {502, "does not answer as it should", httpapi.CodeProviderUnavailable},
		"invalid_scope":           {502, "ended the connection with an error", httpapi.CodeProviderUnavailable},
		"x\r\nforged line":        {502, "ended the connection with an error", httpapi.CodeProviderUnavailable},
	} {
		br := b.browser()
		back := func(returnTo string) string {
			return b.url + "/api/connect/example/callback?error_description=forged&" +
				url.Values{"error": {word}, "state": {parameter(br.start(b.link("pb_alice", returnTo)), "state")}}.Encode()
		}
		address := back(`{}`)
		br.open(address).page(t, want.status, want.text)
		br.open(address).page(t, 409, "Already answered")
		if s := br.open(back(`{"returnTo":"` + app + `"}`)); s.location != app+"?code="+string(want.code)+"&status=failed" {
			t.Errorf("%s: sent to %q", word, s.location)
		}
	}
	if strings.Contains(b.logs.String(), "forged") || b.provider.spent() != 0 {
		t.Errorf("logged %s", b.logs)
	}
	if !strings.Contains(b.logs.String(), `"error":"invalid_scope"`) {
		t.Error("an error that is a word is not logged")
	}
}

func TestAFailedExchangeIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		err    error
		status int
		text   string
	}{
		"down":           {&connectors.Error{Kind: connectors.KindRetry, Code: connectors.CodeUnavailable}, 502, "does not answer as it should"},
		"rate limited":   {&connectors.Error{Kind: connectors.KindWait, Code: connectors.CodeRateLimited}, 502, "does not answer as it should"},
		"answer lost":    {&connectors.Error{Kind: connectors.KindUnknown}, 502, "does not answer as it should"},
		"personal":       {&connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeAccountRestricted, Message: "it is <b>personal</b>"}, 409, "it is &lt;b&gt;personal"},
		"our client":     {&connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal}, 502, "ended the connection"},
		"not configured": {fmt.Errorf("EXAMPLE_CLIENT_ID: %w", connectors.ErrNotConfigured), 503, "cannot be connected here yet"},
		"a bug":          {errors.New("no idea"), 500, "Something went wrong here"},
	} {
		b.provider.fail = c.err
		before, br := b.provider.spent(), b.browser()
		back := b.provider.consent(br.start(b.link("pb_alice", `{}`)), "acct-1")
		br.open(back).page(t, c.status, c.text)
		br.open(back).page(t, 409, "Already answered")
		if n := b.provider.spent() - before; n != 1 {
			t.Errorf("%s: %d exchanges", name, n)
		}
	}
	b.wantAccounts(0)
	b.provider.fail = nil
	b.browser().connect("pb_alice", "acct-1").page(t, 200, "Connected") // begun anew
}

func TestAGrantWithoutThePublishScopeIsRefusedAndRevoked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.grant = func(g *connectors.Grant) { g.Missing = []string{"video.publish"} }
	b.browser().connect("pb_alice", "acct-1").page(t, 403, "video.publish")
	br := b.browser()
	if s := br.open(b.provider.consent(br.start(b.link("pb_alice", `{"returnTo":"`+app+`"}`)), "acct-1")); s.location != app+"?code=MISSING_SCOPE&status=failed" {
		t.Errorf("sent to %s", s.location)
	}
	b.wantAccounts(0)
	if n := b.provider.revocations(); n != 2 || b.provider.revoked[0].AccessToken.Reveal() != "access-acct-1" {
		t.Errorf("%d grants were revoked", n)
	}
}

func TestRefusingAGrantDoesNotEndTheOneThatWorks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.browser().connect("pb_alice", "acct-1").page(t, 200, "Connected")
	b.provider.grant = func(g *connectors.Grant) { g.Missing, g.ProviderAccountID = []string{"publish"}, "" } // known by its callback id
	b.browser().connect("pb_alice", "acct-1").page(t, 403, "permissions")
	b.provider.grant = nil
	b.browser().connect("pb_bob", "acct-1").page(t, 409, "connected for somebody else")
	if n := b.provider.revocations(); n != 0 {
		t.Errorf("%d grants were revoked", n)
	}
	if a := b.all(); len(a) != 1 || a[0].UserID != b.alice || a[0].Status != oauthaccount.Active {
		t.Errorf("accounts are %+v", a)
	}
}

func TestAnAccountThatIsBeingDisconnectedIsNotConnected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.browser().connect("pb_alice", "acct-1")
	if _, err := b.accounts.Disconnect(t.Context(), oauthaccount.Select{ID: b.all()[0].ID}, "requested", false); err != nil {
		t.Fatal(err)
	}
	b.browser().connect("pb_alice", "acct-1").page(t, 409, "just being disconnected")
	b.browser().connect("pb_bob", "acct-1").page(t, 409, "connected for somebody else")
	if n := b.provider.revocations(); n != 0 {
		t.Errorf("%d grants were revoked", n)
	}
}

func TestNothingIsConnectedForAUserWhoIsBeingDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	link, unopened := b.link("pb_alice", `{}`), b.link("pb_alice", `{}`)
	back := b.provider.consent(br.start(link), "acct-1")
	during := b.provider.consent(br.start(b.link("pb_bob", `{}`)), "acct-2")
	b.user("carol")
	b.exec(`UPDATE users SET deleting_at = now() WHERE external_id IN ('alice', 'carol')`)
	br.open(unopened).page(t, 410, "not here any more")
	br.open(back).page(t, 410, "not here any more")
	if b.provider.spent() != 0 {
		t.Error("a code was exchanged")
	}
	b.call(http.MethodPost, "/api/connect/example/links", "pb_agency", `{"userId":"carol"}`).failure(t, 409, httpapi.CodeConflict)
	b.provider.during = func(context.Context) { b.exec(`UPDATE users SET deleting_at = now() WHERE external_id = 'bob'`) }
	br.open(during).page(t, 410, "not here any more")
	b.wantAccounts(0)
	if n := b.provider.revocations(); n != 1 {
		t.Errorf("%d grants were revoked, want the one that came too late", n)
	}
	b.exec(`DELETE FROM users`)
	br.open(link).page(t, 404, "This link does not work")
	br.open(back).page(t, 400, "not one of ours")
}
