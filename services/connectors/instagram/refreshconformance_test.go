package instagram_test

import (
	"testing"

	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/sandbox"
	standin "postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/sandboxtest"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestRefreshingConformance(t *testing.T) {
	connectortest.Refresh{
		Connector: connector, Request: checkConnectRequest,
		New: func(t *testing.T) connectortest.RefreshBench {
			at := sandboxtest.New(t, standin.Name, sandbox.Config{Factor: factor})
			b := at.Refresh(stage.Fault{Switch: "app_limited", Call: standin.CallRefresh})
			b.Rekey = nil // a refresh shows nothing but the token
			b.Age = func() { at.ExpireTokens(stage.TokenFilter{Account: at.Account.ID}, true) }
			return b
		},
	}.Run(t)
}
