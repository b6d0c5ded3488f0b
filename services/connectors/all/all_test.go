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

func TestNewNamesASettingThatIsWrong(t *testing.T) {
	t.Parallel()
	env := map[string]string{"INSTAGRAM_BASE_URL": "graph.instagram.com"}
	_, err := New(Config{Client: connectors.NewClient(connectors.ClientConfig{}), Env: func(k string) string { return env[k] }})
	if err == nil || !strings.Contains(err.Error(), "instagram: base URL") {
		t.Errorf("got %v", err)
	}
}
