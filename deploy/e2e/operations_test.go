package e2e

import (
	"fmt"

	"postbus.dev/deploy/e2e/contract"
)

const (
	undecided = "undecided"            // a user whose publish is unconfirmed
	returnTo  = "https://app.example/" // an address that people may be sent back to
)

// operations are valid calls of all operations.
func operations() map[string]operation {
	accounts, publish, admin := []string{"accounts"}, []string{"publish"}, []string{"admin"}
	return map[string]operation{
		"list-accounts": {scopes: accounts, good: func(p *party) contract.Call {
			p.account(p.user)
			return p.call("", "").With(query("provider", "instagram", "status", "active", "limit", "1"))
		}},
		"get-account":        {scopes: accounts, good: ofAccount},
		"import-account":     {scopes: accounts, good: tokens, more: (*party).imports},
		"refresh-account":    {scopes: accounts, good: ofAccount, more: (*party).refreshes},
		"disconnect-account": {scopes: accounts, good: ofAccount, more: (*party).disconnects},
		"list-users":         {scopes: []string{"admin", "on_behalf"}, good: plain},
		"create-user":        {scopes: []string{"admin", "on_behalf"}, good: func(p *party) contract.Call { return p.call("", `{"userId":"somebody-new"}`) }, more: (*party).makesUser},
		"get-user":           {scopes: admin, good: ofUser},
		"delete-user":        {scopes: admin, good: ofUser, more: (*party).leaves},
		"list-keys":          {good: plain},
		"create-key":         {scopes: admin, good: func(p *party) contract.Call { return p.call("", `{"name":"another","scopes":["admin"]}`) }, more: (*party).makesKey},
		"revoke-key":         {scopes: admin, good: ofKey},

		"make-connect-link":  {scopes: accounts, good: func(p *party) contract.Call { return p.call("", `{"returnTo":"`+returnTo+`"}`) }, more: (*party).makesLink},
		"connect":            {scopes: accounts, good: plain, more: (*party).goes, lenient: true},
		"connect-callback":   {scopes: accounts, good: comingBack, more: (*party).comesBack, lenient: true},
		"provider-callback":  {scopes: accounts, good: removal, more: (*party).isCalled, lenient: true},
		"provider-challenge": {good: challenge, more: (*party).isChallenged, lenient: true},
		"deletion-status":    {good: deletion, lenient: true},

		"publish": {scopes: publish, good: func(p *party) contract.Call {
			p.account(p.user)
			return p.call("", fmt.Sprintf(image, "as documented")).With(header("Idempotency-Key", "as-documented"))
		}, more: (*party).publishes},
		"list-publishes": {scopes: publish, good: func(p *party) contract.Call {
			p.published()
			return p.call("", "").With(query("state", "completed", "provider", "instagram", "limit", "1", "from", "2020-01-01T00:00:00Z"))
		}},
		"get-publish":        {scopes: publish, good: func(p *party) contract.Call { return p.call(p.published(), "") }},
		"publish-events":     {scopes: publish, good: func(p *party) contract.Call { return p.call(p.published(), "") }, more: (*party).follows},
		"reschedule-publish": {scopes: publish, good: func(p *party) contract.Call { return p.call(p.scheduled(), `{"publishAt":"2099-01-01T00:00:00Z"}`) }, more: (*party).reschedules},
		"cancel-publish":     {scopes: publish, good: func(p *party) contract.Call { return p.call(p.scheduled(), "") }, more: (*party).cancels},
		"resolve-publish": {user: undecided, scopes: admin, good: func(p *party) contract.Call {
			return p.call(p.awaitUnconfirmed(), `{"outcome":"not_published","reason":"somebody has looked"}`)
		}, more: (*party).resolves},
	}
}

// query, path, header and body change a call; names and values come in turn.
func query(pairs ...string) func(*contract.Call) {
	return func(c *contract.Call) {
		for i := 0; i < len(pairs); i += 2 {
			c.Query.Set(pairs[i], pairs[i+1])
		}
	}
}

func path(name, value string) func(*contract.Call) {
	return func(c *contract.Call) { c.Path[name] = value }
}

func header(name, value string) func(*contract.Call) {
	return func(c *contract.Call) { c.Header.Set(name, value) }
}

func body(text string) func(*contract.Call) { return func(c *contract.Call) { c.Body = text } }

func key(value string) func(*contract.Call) { return func(c *contract.Call) { c.Key = value } }

func plain(p *party) contract.Call  { return p.call("", "") }
func ofUser(p *party) contract.Call { return p.call(p.user, "") }

func ofAccount(p *party) contract.Call {
	id, _ := p.account(p.user)
	return p.call(id, "")
}

func tokens(p *party) contract.Call {
	at := p.atProvider(p.user)
	return p.call("", fmt.Sprintf(`{"provider":"instagram","accessToken":%q,"expiresIn":5000000}`, at.Token))
}

// ofKey is about another key of the user than the calling one.
func ofKey(p *party) contract.Call {
	p.keyOf(p.user, "publish")
	items, _ := p.data(p.of("list-keys", "", ""), 200)["items"].([]any)
	last, _ := items[len(items)-1].(map[string]any)
	return p.call(fmt.Sprint(last["keyId"]), "")
}

func (p *party) imports(good contract.Call) {
	p.answers(good, 201)
	p.answers(good, 200)
	p.create("another-importer")
	p.refused("somebody else's account", good.With(key(p.keyOf("another-importer", "accounts"))), 409)
	p.refused("a token of nobody", p.call("", `{"provider":"instagram","accessToken":"`+contract.Marker+`token"}`), 409)
	p.refused("a provider that is not there", p.call("", `{"provider":"nowhere","accessToken":"`+contract.Marker+`token"}`), 400)
}

func (p *party) refreshes(good contract.Call) {
	p.answers(good, 202)
	p.answers(p.of("disconnect-account", good.Path["id"], ""), 202)
	p.refused("a disconnected account", good, 404)
}

func (p *party) disconnects(good contract.Call) {
	p.answers(good, 202)
	p.answers(good, 202) // asking again is no error
}

func (p *party) makesUser(good contract.Call) {
	p.answers(good, 201)
	p.answers(good, 200)
	p.answers(p.of("delete-user", "somebody-new", ""), 202)
	p.refused("a user who is being deleted", good, 409)
}

func (p *party) leaves(good contract.Call) { p.answers(good, 202) }

func (p *party) makesKey(good contract.Call) {
	p.answers(good, 201)
	p.refused("a key that has expired", p.call("", `{"name":"x","scopes":["admin"],"expiresAt":"2020-01-01T00:00:00Z"}`), 400)
	p.refused("a scope that its maker lacks", p.call("", `{"name":"x","scopes":["publish"]}`), 403)
}

func (p *party) makesLink(good contract.Call) {
	p.answers(good, 201)
	p.refused("an address that nobody may be sent to", p.call("", `{"returnTo":"https://elsewhere.example/"}`), 400)
}
