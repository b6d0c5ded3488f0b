package onlyfans_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/sandbox"
	standin "postbus.dev/services/connectors/sandbox/onlyfans"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestASessionThatEndsAndComesBackByItself(t *testing.T) {
	t.Parallel()
	sb, err := sandbox.New(sandbox.Config{Factor: factor})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sb.Handler())
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(func() { sb.Close(); client.Close(); server.Close() })
	c, err := connector(server.URL, client, true)
	if err != nil {
		t.Fatal(err)
	}
	acct := sb.Accounts(standin.Name)[0]
	a := connectors.Account{ProviderAccountID: acct.ID, AccessToken: connectors.NewSecret(acct.Token)}
	look := func(what string, kind connectors.Kind, reason string) {
		t.Helper()
		again, err := c.(connectors.Checker).Check(context.Background(), a)
		if kind == done {
			if err != nil || again != 18*time.Second {
				t.Errorf("%s: %v, %v", what, again, err)
			}
		} else if e := connectors.AsError(err); err == nil || e.Kind != kind || e.Reason != reason {
			t.Errorf("%s: %v", what, err)
		}
	}
	set := func(f stage.Fault) {
		t.Helper()
		f.Provider, f.Count = standin.Name, 1
		if _, err := sb.SetFault(f); err != nil {
			t.Fatal(err)
		}
	}
	look("at first", done, "")
	set(stage.Fault{Switch: "signed_out"})
	look("dropped", connectors.KindReauthorize, connectors.ReasonSignedOut)
	look("back by itself", done, "")
	for name, kind := range map[string]connectors.Kind{
		"key_refused": connectors.KindReject, "rate_limited": connectors.KindWait, "out_of_credits": connectors.KindWait,
		"http_before": connectors.KindRetry, "lost_after": connectors.KindRetry, "wrapped": connectors.KindRetry,
	} {
		reason := map[string]string{"rate_limited": connectors.ReasonRateLimit, "out_of_credits": connectors.ReasonQuota}[name]
		if name == "lost_after" {
			client.Close() // a connection that is known to be dead is not tried first
		}
		set(stage.Fault{Switch: name})
		look(name, kind, reason)
	}
	sb.RevokeTokens(stage.TokenFilter{Token: acct.Token}, stage.Dead{Code: 1})
	look("signed out for good", connectors.KindReauthorize, connectors.ReasonSignedOut)
	sb.RevokeTokens(stage.TokenFilter{Token: acct.Token}, stage.Dead{})
	look("signed in again", done, "")
	if err := c.(connectors.Revoker).Revoke(context.Background(), a, connectors.Secret{}); err != nil {
		t.Error(err)
	}
	look("removed", connectors.KindReauthorize, connectors.ReasonRevoked)
}

// done is no error.
const done = connectors.Kind(100)
