package oauthaccount_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/oauthaccount"
)

func TestAccountsOfAUserAreListedInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var all []uuid.UUID
	for i := range 7 {
		all = append(all, b.account(b.user, []string{"instagram", "reddit"}[i%2], fmt.Sprint(i)))
	}
	b.account(b.newUser("user-2"), "instagram", "other")
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required' WHERE id = $1`, all[0])
	list := func(f oauthaccount.Filter) (ids []uuid.UUID) {
		t.Helper()
		as, err := b.store.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range as {
			ids = append(ids, a.ID)
		}
		return ids
	}
	var paged []uuid.UUID
	f := oauthaccount.Filter{UserID: b.user, Limit: 3}
	for {
		page := list(f)
		paged = append(paged, page...)
		if len(page) < f.Limit {
			break
		}
		f.After = page[len(page)-1]
	}
	if !slices.Equal(paged, all) {
		t.Errorf("pages: %v, want %v", paged, all)
	}
	for name, c := range map[string]struct {
		f    oauthaccount.Filter
		want []uuid.UUID
	}{
		"provider":            {oauthaccount.Filter{UserID: b.user, Provider: "reddit", Limit: 9}, []uuid.UUID{all[1], all[3], all[5]}},
		"status":              {oauthaccount.Filter{UserID: b.user, Status: oauthaccount.ReauthRequired, Limit: 9}, all[:1]},
		"status and provider": {oauthaccount.Filter{UserID: b.user, Provider: "reddit", Status: oauthaccount.ReauthRequired, Limit: 9}, nil},
		"nobody":              {oauthaccount.Filter{UserID: uuid.New(), Limit: 9}, nil},
		"no such provider":    {oauthaccount.Filter{UserID: b.user, Provider: "\x00' OR true --", Limit: 9}, nil},
	} {
		if got := list(c.f); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, f := range []oauthaccount.Filter{{Limit: 9}, {UserID: b.user}} {
		if as, err := b.store.List(t.Context(), f); err == nil {
			t.Errorf("%+v lists %d accounts", f, len(as))
		}
	}
}

func TestAnAccountIsReadWithWhatPeopleAskAboutIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := full(b.user)
	id := b.connect(n).Account.ID
	b.exec(`UPDATE oauth_accounts SET failure_count = 2, failure_class = 'unavailable', failed_at = now()`)
	a, err := b.store.One(t.Context(), b.user, id)
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != id || a.Username != n.Username || !a.RefreshExpiresAt.Equal(n.RefreshExpiresAt) || !a.RefreshAfter.Equal(n.RefreshAfter) ||
		a.FailureCount != 2 || a.FailureClass != "unavailable" || time.Since(a.FailedAt) > time.Minute || time.Since(a.CreatedAt) > time.Minute ||
		time.Since(a.UpdatedAt) > time.Minute || a.DisconnectReason != "" {
		t.Errorf("read %+v", a)
	}
}

func TestSomebodyElsesAccountIsOneThatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, two := b.account(b.user, "instagram", "1"), b.newUser("user-2")
	_, unknown := b.store.One(t.Context(), two, uuid.New())
	_, others := b.store.One(t.Context(), two, id)
	if !errors.Is(others, oauthaccount.ErrNotFound) || others.Error() != unknown.Error() {
		t.Errorf("read: %v, unknown: %v", others, unknown)
	}
	if err := b.store.RequestRefresh(t.Context(), two, id); !errors.Is(err, oauthaccount.ErrNotFound) {
		t.Errorf("refresh: %v", err)
	}
	if n := len(b.told(id)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestARefreshIsAskedForFromTheTokenThatIsThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	b.exec(`UPDATE oauth_accounts SET token_version = 7, version = 9`)
	if err := b.store.RequestRefresh(t.Context(), b.user, id); err != nil {
		t.Fatal(err)
	}
	e := b.told(id)[1]
	var d events.TokenRefreshRequested
	if b.decode(e, &d); d.AccountID != id.String() || d.Provider != "instagram" || d.TokenVersion != 7 || sequence(t, e) != 9 {
		t.Errorf("told %+v", d)
	}
	if v := b.get(id).Version; v != 9 {
		t.Errorf("asking has changed the account: version %d", v)
	}
	b.disconnect(id, events.DisconnectRequested, false)
	if err := b.store.RequestRefresh(t.Context(), b.user, id); !errors.Is(err, oauthaccount.ErrNotConnected) {
		t.Errorf("of one that is being disconnected: %v", err)
	}
}

func TestAccountsAreFoundByTheNamesThatTheirProviderHasForThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mine, hers := b.account(b.user, "instagram", "1"), b.account(b.newUser("user-2"), "instagram", "2")
	b.account(b.user, "reddit", "1")
	b.exec(`UPDATE oauth_accounts SET metadata = '{"callback_id": "app-2"}' WHERE id = $1`, hers)
	b.disconnect(hers, events.DisconnectRequested, false) // of any status
	found, err := b.store.Find(t.Context(), "instagram", []string{"1", "app-2", "2", "unknown"})
	var ids []uuid.UUID
	for _, a := range found {
		ids = append(ids, a.ID)
	}
	if err != nil || len(ids) != 2 || !slices.Contains(ids, mine) || !slices.Contains(ids, hers) {
		t.Errorf("found %v, %v", ids, err)
	}
	if _, err := b.store.Find(t.Context(), "", []string{"1"}); err == nil {
		t.Error("found without a provider")
	}
}
