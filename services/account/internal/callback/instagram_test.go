package callback

import (
	"net/http"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/all"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
	"postbus.dev/services/internal/httpapi"
)

// TestCallsOfInstagram has the stand-in call over HTTP, signed as Meta does.
func TestCallsOfInstagram(t *testing.T) {
	t.Parallel()
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(box.Close)
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(client.Close)
	b := setup(t, func(c *Config) {
		app := sandbox.LocalClient("instagram", c.PublicURL)
		if err := box.AddClient(app); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"INSTAGRAM_CLIENT_ID": app.ID, "INSTAGRAM_CLIENT_SECRET": app.Secret}
		if c.Connectors, err = all.New(all.Config{Client: client, Env: func(name string) string { return env[name] }}); err != nil {
			t.Fatal(err)
		}
	})
	person := box.Accounts("instagram")[0]
	id := b.account("instagram", person.ID, person.AppID)
	call := func(kind string, statuses ...int) []stage.Called {
		t.Helper()
		made, err := box.Call("instagram", kind, person.ID, "")
		if err != nil || len(made) != len(statuses) {
			t.Fatalf("called %+v, %v", made, err)
		}
		for i, m := range made {
			if m.Status != statuses[i] {
				t.Errorf("answered %+v, want %d", m, statuses[i])
			}
		}
		return made
	}
	for _, name := range []string{"callback_forged", "callback_altered", "callback_algorithm"} {
		f, err := box.SetFault(stage.Fault{Switch: name, Provider: "instagram"})
		if err != nil {
			t.Fatal(err)
		}
		call("deauthorize", 403)
		call("deletion", 403)
		box.ClearFault(f.ID)
	}
	old, err := box.SetFault(stage.Fault{Switch: "callback_old", Provider: "instagram", Delay: stage.Duration(8 * 24 * 3600e9)})
	if err != nil {
		t.Fatal(err)
	}
	call("deletion", 403)
	box.ClearFault(old.ID)
	if b.status(id) != "active" || b.counted(forged) != 6 || b.counted(stale) != 1 {
		t.Fatalf("the account is %s, %d forged, %d stale", b.status(id), b.counted(forged), b.counted(stale))
	}

	call("deauthorize", 200)
	if b.status(id) != "disconnecting revoked_at_provider" {
		t.Errorf("the account is %s", b.status(id))
	}
	if _, err := box.SetFault(stage.Fault{Switch: "callback_twice", Provider: "instagram"}); err != nil {
		t.Fatal(err)
	}
	made := call("deletion", 200, 200)
	if b.status(id) != "disconnecting deletion_requested erase" || made[0].Code == "" || made[0].Code != made[1].Code || b.counted(replayed) != 1 {
		t.Errorf("the account is %s, answered %+v", b.status(id), made)
	}
	if a := b.send(http.MethodGet, strings.TrimPrefix(made[0].StatusURL, b.url), ""); a.status != 200 || !strings.Contains(a.body, "is being deleted") {
		t.Errorf("shown %d %s", a.status, a.body)
	}
	b.send(http.MethodPost, "/api/callbacks/instagram/webhook", "{}").wants(t, 404, httpapi.CodeNotFound)
}
