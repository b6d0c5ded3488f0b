package all

import (
	"strings"
	"testing"

	"postbus.dev/services/connectors"
)

func TestNewKnowsEveryConnectorByItsName(t *testing.T) {
	t.Parallel()
	list, err := New(Config{Client: connectors.NewClient(connectors.ClientConfig{})})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range list {
		if p.Provider() != name {
			t.Errorf("%s is listed as %s", p.Provider(), name)
		}
	}
	if _, ok := list["instagram"]; !ok {
		t.Error("instagram is missing")
	}
}

// Whoever publishes needs no client settings; a half of them is a mistake.
func TestClientSettingsAreAllOrNone(t *testing.T) {
	t.Parallel()
	env := map[string]string{"INSTAGRAM_CLIENT_ID": "1", "INSTAGRAM_CLIENT_SECRET": "s"}
	cfg := Config{Client: connectors.NewClient(connectors.ClientConfig{}), Env: func(k string) string { return env[k] }}
	list, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := list["instagram"].(connectors.Authorizer).AuthorizeURL(t.Context(), connectors.AuthorizeRequest{}); err != nil || !strings.Contains(u, "client_id=1") {
		t.Errorf("got %s, %v", u, err)
	}
	delete(env, "INSTAGRAM_CLIENT_SECRET")
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "client secret") {
		t.Errorf("got %v", err)
	}
}

func TestNewNamesASettingThatIsWrong(t *testing.T) {
	t.Parallel()
	env := map[string]string{"INSTAGRAM_BASE_URL": "graph.instagram.com"}
	_, err := New(Config{Client: connectors.NewClient(connectors.ClientConfig{}), Env: func(k string) string { return env[k] }})
	if err == nil || !strings.Contains(err.Error(), "instagram: base URL") {
		t.Errorf("got %v", err)
	}
}
