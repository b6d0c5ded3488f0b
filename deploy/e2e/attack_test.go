package e2e

import (
	"fmt"
	"net/http"
	"strings"

	"postbus.dev/deploy/e2e/contract"
	"postbus.dev/deploy/visitor"
	"postbus.dev/events"
)

// attacks are what a stranger would try at the door; each package has its own
// list, this one goes through everything.
func (h house) attacks() {
	victim, attacker := h.guest("victim"), h.guest("attacker")
	link := h.d.Link(attacker.key, "instagram")
	asked, err := attacker.browser.Open(h.Context(), link)
	if err != nil || asked.Err() != nil {
		h.Fatal(err, asked.Err())
	}
	callback := h.w.PublicURL + "/api/connect/instagram/callback?code=AQ" + contract.Marker + "stolen&state=" + asked.URL.Query().Get("state")
	for name, visit := range map[string]struct {
		who     *visitor.Visitor
		address string
	}{
		"another browser's state": {victim.browser, callback},
		"no state":                {attacker.browser, h.w.PublicURL + "/api/connect/instagram/callback?code=AQ" + contract.Marker + "stolen"},
		"two states":              {attacker.browser, callback + "&state=x"},
		"a code of nobody":        {attacker.browser, callback},
		"a state that was used":   {attacker.browser, callback},
		"an unknown link":         {victim.browser, h.w.PublicURL + "/api/connect/instagram?link=" + contract.Marker + strings.Repeat("x", 28)},
	} {
		page, err := visit.who.Open(h.Context(), visit.address)
		if err != nil || page.Status < 400 || page.Status >= 600 {
			h.Errorf("%s: %v %d", name, err, page.Status)
		}
	}
	if victim.account() != nil || attacker.account() != nil {
		h.Error("something was connected")
	}
	h.others(victim)
}

// others asks for what belongs to somebody else: it does not exist.
func (h house) others(s somebody) {
	const unknown = "01890000-0000-7000-8000-000000000000"
	for _, route := range []struct{ method, path, id, body string }{
		{http.MethodGet, "/api/accounts/%s", h.w.Accounts[0], ""},
		{http.MethodPost, "/api/accounts/%s/refresh", h.w.Accounts[0], ""},
		{http.MethodPost, "/api/accounts/%s/disconnect", h.w.Accounts[0], ""},
		{http.MethodGet, "/api/publishes/%s", events.PublishID("/x", "y").String(), ""},
		{http.MethodPost, "/api/publishes/%s/cancel", events.PublishID("/x", "y").String(), ""},
	} {
		theirs := h.d.Call(s.key, route.method, fmt.Sprintf(route.path, route.id), route.body)
		none := h.d.Call(s.key, route.method, fmt.Sprintf(route.path, unknown), route.body)
		if theirs.Status != http.StatusNotFound || none.Status != theirs.Status || none.Error.Code != theirs.Error.Code || none.Error.Message != theirs.Error.Message {
			h.Errorf("%s %s: %s, of nobody: %s", route.method, route.path, theirs.Raw, none.Raw)
		}
	}
}
