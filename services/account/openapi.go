package account

import (
	"postbus.dev/services/account/internal/api"
	"postbus.dev/services/account/internal/callback"
	"postbus.dev/services/account/internal/connect"
	"postbus.dev/services/internal/httpapi"
)

const about = `Users, API keys and connected OAuth accounts.

A key's scopes say what its holder may do: ` + "`accounts`" + ` connects accounts, looks at them and disconnects them,
` + "`admin`" + ` manages keys and users. With ` + "`on_behalf`" + ` a caller may name another user than that of the key, by your own
id of the user; without it everything is about the key's own user. What belongs to a user who was not named is answered
as if it did not exist.`

// apiConfig is what the service and its document have in common.
func apiConfig() httpapi.Config {
	return httpapi.Config{Title: "Postbus: accounts", Version: "1.0", Description: about}
}

// OpenAPI returns the OpenAPI document of the service. It is the same bytes that
// GET /openapi.json means, indented.
func OpenAPI() ([]byte, error) {
	cfg := apiConfig()
	cfg.Keys, cfg.Budgets = httpapi.Nobody{}, httpapi.Nobody{}
	web, err := httpapi.New(cfg)
	if err != nil {
		return nil, err
	}
	operations{accounts: new(api.API), connect: new(connect.Flow), callbacks: new(callback.Taker)}.register(web)
	return web.Document()
}

// operations are the packages that answer on the one API of the service. For its
// document they need not be made.
type operations struct {
	accounts  *api.API
	connect   *connect.Flow
	callbacks *callback.Taker
}

func (o operations) register(web *httpapi.API) {
	o.connect.Register(web)
	o.accounts.Register(web)
	o.callbacks.Register(web)
}
