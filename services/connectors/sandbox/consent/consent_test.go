package consent

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"postbus.dev/services/connectors/sandbox/stage"
)

const back = "https://app.example/back?from=1"

func setup(t *testing.T) (*Pages, *stage.Stage) {
	t.Helper()
	st, err := stage.New(stage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Clients.Put(stage.Client{Provider: "toy", ID: "app<1>", Secret: "s", RedirectURIs: []string{back}}); err != nil {
		t.Fatal(err)
	}
	if err := st.Accounts.Put(stage.Account{Provider: "toy", ID: "1", Username: "ada", Token: "t"}); err != nil {
		t.Fatal(err)
	}
	return New("Toy", `{{define "own"}}{{template "head" "Own"}}{{.}}{{template "foot"}}{{end}}`), st
}

func asked(change func(*Asked)) Asked {
	a := Asked{Provider: "toy", ClientID: "app<1>", RedirectURI: back, ResponseType: "code", State: "s1", Scope: "read,write", Offered: []string{"read", "write"}}
	change(&a)
	return a
}

func TestAPageShowsWhoAsksForWhatAndNothingOfItIsMarkup(t *testing.T) {
	t.Parallel()
	p, st := setup(t)
	r, refused := p.Read(st, asked(func(*Asked) {}))
	if refused != nil {
		t.Fatalf("%s", refused.Body)
	}
	page := string(p.Show(r).Body)
	for _, want := range []string{"Connect app&lt;1&gt;", `<option value="1">ada</option>`, `name="allow_read"`, `name="allow_write"`, "stand-in for Toy", "https://app.example/back?from=1"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	none, refused := p.Read(st, asked(func(a *Asked) { a.Scope, a.Offered = "", nil }))
	if refused != nil || strings.Contains(string(p.Show(none).Body), "fieldset>") {
		t.Error("a provider without scopes asks for them")
	}
	if own := string(p.Render(http.StatusOK, "own", "<b>").Body); !strings.Contains(own, "&lt;b&gt;") || !strings.Contains(own, "stand-in for Toy") {
		t.Errorf("%s", own)
	}
}

func TestWhatIsWrongWithARequestIsToldToThePersonAndToNobodyElse(t *testing.T) {
	t.Parallel()
	p, st := setup(t)
	for want, change := range map[string]func(*Asked){
		"client_id is not registered": func(a *Asked) { a.ClientID = "other" },
		"Invalid platform app":        func(a *Asked) { a.ClientID = "" },
		"Invalid redirect_uri":        func(a *Asked) { a.RedirectURI = back + "1" },
		"response_type must be code":  func(a *Asked) { a.ResponseType = "token" },
		"Invalid scope: delete":       func(a *Asked) { a.Scope = "read delete" },
		"none is asked for":           func(a *Asked) { a.Scope = " " },
	} {
		_, refused := p.Read(st, asked(change))
		if refused == nil || refused.Status != http.StatusBadRequest || refused.Header.Get("Location") != "" || !strings.Contains(string(refused.Body), want) {
			t.Errorf("%s: %+v", want, refused)
		}
	}
}

func TestThePersonDecides(t *testing.T) {
	t.Parallel()
	p, st := setup(t)
	r, _ := p.Read(st, asked(func(*Asked) {}))
	ada, _ := st.Accounts.Get("toy", "1")
	form := map[string]string{"decision": "allow", "allow_write": "on", "allow_delete": "on"}
	if got, again := p.Allowed(r, form, ada); again != nil || !slices.Equal(got, []string{"write"}) {
		t.Errorf("%q", got)
	}
	if Canceled(form) || !Canceled(map[string]string{"decision": "cancel"}) {
		t.Error("canceled is another button")
	}
	for _, wrong := range []func() ([]string, *stage.Answer){
		func() ([]string, *stage.Answer) { return p.Allowed(r, form, stage.Account{}) },
		func() ([]string, *stage.Answer) { return p.Allowed(r, map[string]string{}, ada) },
	} {
		if _, again := wrong(); again == nil || again.Status != http.StatusBadRequest || !strings.Contains(string(again.Body), `role="alert"`) {
			t.Errorf("%+v", again)
		}
	}
	to := r.Back(url.Values{"code": {"c&d"}}, "_")
	if got := to.Header.Get("Location"); to.Status != http.StatusSeeOther || got != "https://app.example/back?code=c%26d&from=1&state=s1#_" {
		t.Errorf("sent to %s", got)
	}
	if got := FormParams([]string{"read"}); !slices.Equal(got, []string{"account", "decision", "allow_read"}) {
		t.Errorf("%q", got)
	}
}
