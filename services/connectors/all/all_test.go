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
	for _, name := range []string{"instagram", "tiktok", "reddit", "onlyfans"} {
		if _, ok := list[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

// Whoever publishes needs no client settings; a half of them is a mistake.
func TestClientSettingsAreAllOrNone(t *testing.T) {
	t.Parallel()
	for provider, sent := range map[string]string{"instagram": "client_id=1", "tiktok": "client_key=1", "reddit": "client_id=1"} {
		prefix := strings.ToUpper(provider)
		env := map[string]string{prefix + "_CLIENT_ID": "1", prefix + "_CLIENT_SECRET": "s"}
		cfg := Config{Client: connectors.NewClient(connectors.ClientConfig{}), Env: func(k string) string { return env[k] }}
		list, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := list[provider].(connectors.Authorizer).AuthorizeURL(t.Context(), connectors.AuthorizeRequest{}); err != nil || !strings.Contains(u, sent) {
			t.Errorf("got %s, %v", u, err)
		}
		delete(env, prefix+"_CLIENT_SECRET")
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), provider+": client id and client secret") {
			t.Errorf("got %v", err)
		}
	}
}

func TestNewNamesASettingThatIsWrong(t *testing.T) {
	t.Parallel()
	env := map[string]string{"INSTAGRAM_BASE_URL": "graph.instagram.com", "TIKTOK_AUTHORIZE_URL": "tiktok", "ONLYFANS_AUTHORIZE_URL": "page", "REDDIT_OAUTH_URL": "reddit"}
	_, err := New(Config{Client: connectors.NewClient(connectors.ClientConfig{}), Env: func(k string) string { return env[k] }})
	for _, want := range []string{"instagram: base URL", "tiktok: authorize URL", "onlyfans: authorize URL", "reddit: OAuth URL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
}
