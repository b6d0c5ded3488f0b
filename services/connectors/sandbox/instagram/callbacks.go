package instagram

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// Call removes an app from an account and calls the app as Meta does: a POST
// with one form field, signed_request. With kind "deletion" it asks that the
// person's data be deleted, too.
func (ig *Instagram) Call(kind, account, client string) ([]stage.Called, error) {
	return ig.callApp(context.Background(), kind, account, client)
}

func (ig *Instagram) callApp(ctx context.Context, kind, account, client string) ([]stage.Called, error) {
	a, ok := ig.st.Accounts.Find(Name, account)
	if !ok {
		return nil, fmt.Errorf("no account %q", account)
	}
	app, ok := ig.st.Clients.Get(Name, client)
	if !ok {
		return nil, fmt.Errorf("no client %q", client)
	}
	to, name := app.DeauthorizeURL, CallDeauthorize
	switch kind {
	case "deauthorize":
	case "deletion":
		to, name = app.DeletionURL, CallDeletion
	default:
		return nil, fmt.Errorf("no callback %q: deauthorize or deletion", kind)
	}
	ig.removeApp(a.ID, app.ID)
	if to == "" {
		return nil, fmt.Errorf("the app is removed; client %q has no address for %s", app.ID, kind)
	}
	signed, times, err := ig.sign(name, a, app)
	if err != nil {
		return nil, err
	}
	var made []stage.Called
	for range times {
		made = append(made, post(ctx, to, signed))
	}
	return made, nil
}

// sign makes the signed_request, with what the faults do to it, and says how
// often it is sent.
func (ig *Instagram) sign(name string, a stage.Account, app stage.Client) (signed string, times int, err error) {
	fault := func(sw string) (stage.Fault, bool) { return ig.st.Faults.State(sw, Name, name, a.ID) }
	secret, algorithm, at := app.Secret, "HMAC-SHA256", time.Now()
	if _, on := fault("callback_forged"); on {
		secret = "not " + secret
	}
	if _, on := fault("callback_algorithm"); on {
		algorithm = "none"
	}
	if f, on := fault("callback_old"); on {
		at = at.Add(-time.Duration(f.Delay))
	}
	payload, err := payloadOf(algorithm, a.AppID, at)
	if err != nil {
		return "", 0, err
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(payload))
	if _, on := fault("callback_altered"); on {
		if payload, err = payloadOf(algorithm, "1"+a.AppID, at); err != nil {
			return "", 0, err
		}
	}
	times = 1
	if _, on := fault("callback_twice"); on {
		times = 2
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + payload, times, nil
}

func payloadOf(algorithm, user string, at time.Time) (string, error) {
	b, err := json.Marshal(map[string]any{"algorithm": algorithm, "issued_at": at.Unix(), "user_id": user})
	return base64.RawURLEncoding.EncodeToString(b), err
}

// post calls a client. It follows no redirect and waits ten seconds.
func post(ctx context.Context, to, signed string) stage.Called {
	made := stage.Called{URL: to}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(url.Values{"signed_request": {signed}}.Encode()))
	if err != nil {
		made.Error = err.Error()
		return made
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		made.Error = err.Error()
		return made
	}
	defer func() { _ = resp.Body.Close() }()
	made.Status = resp.StatusCode
	var answer struct {
		URL  string `json:"url"`
		Code string `json:"confirmation_code"`
	}
	if body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody)); err == nil && json.Unmarshal(body, &answer) == nil {
		made.StatusURL, made.Code = answer.URL, answer.Code
	}
	return made
}

// appsPage is where a person sees which apps have access.
type appsPage struct {
	Grants []appGrant
	Called []stage.Called
	Wrong  string
}

// appGrant is one app's access to one account.
type appGrant struct {
	Client, Account, Username string
	Scopes                    []string
}

func (ig *Instagram) showApps(w http.ResponseWriter, _ *http.Request) {
	ig.writeApps(w, http.StatusOK, appsPage{})
}

func (ig *Instagram) changeApps(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	err := r.ParseForm()
	var made []stage.Called
	if err == nil {
		// Who closes the page has removed the app all the same.
		made, err = ig.callApp(context.WithoutCancel(r.Context()), r.PostForm.Get("kind"), r.PostForm.Get("account"), r.PostForm.Get("client"))
	}
	if err != nil {
		ig.writeApps(w, http.StatusBadRequest, appsPage{Wrong: err.Error()})
		return
	}
	ig.writeApps(w, http.StatusOK, appsPage{Called: made})
}

func (ig *Instagram) writeApps(w http.ResponseWriter, status int, p appsPage) {
	p.Grants = ig.grants()
	answer := ig.pages.Render(status, "apps", p)
	for name, v := range answer.Header {
		w.Header()[name] = v
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body)
}

// grants are the living accesses, each once.
func (ig *Instagram) grants() (list []appGrant) {
	first, _ := ig.st.Clients.Get(Name, "")
	seen := map[[2]string]bool{}
	for _, t := range slices.Backward(ig.st.Accounts.Tokens(stage.TokenFilter{Provider: Name, Kind: "access"})) {
		a, ok := ig.st.Accounts.Get(Name, t.Account)
		g := appGrant{Client: cmp.Or(t.Client, first.ID), Account: a.ID, Username: a.Username, Scopes: t.Scopes}
		if key := [2]string{g.Client, g.Account}; ok && t.Dead == nil && !t.Expired() && !seen[key] {
			seen[key] = true
			list = append(list, g)
		}
	}
	return list[:min(len(list), consent.Listed)]
}
