package callback

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/services/account/internal/page"
	"postbus.dev/services/internal/httpapi"
)

// codeLength is that of rand.Text.
const codeLength = 26

// mayBeCode leaves out what rand.Text never returns, such as what no text column
// can hold.
func mayBeCode(code string) bool {
	odd := func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') }
	return len(code) == codeLength && !strings.ContainsFunc(code, odd)
}

func (t *Taker) registerDeletions(a *httpapi.API) {
	html := map[string]*huma.MediaType{"text/html": {Schema: &huma.Schema{Type: huma.TypeString}}}
	httpapi.Handle(a, huma.Operation{
		OperationID: "deletion-status", Method: http.MethodGet, Path: "/api/callbacks/{provider}/deletions/{code}", Summary: "How a deletion stands",
		Description: "A page for the person who asked a provider for it. The code is the one that the provider was told.",
		Security:    httpapi.Public(),
		Parameters:  []*huma.Param{inPath("provider"), inPath("code")},
		Responses: map[string]*huma.Response{
			"200": {Description: "How it stands", Headers: noStore(), Content: html},
			"404": {Description: "There is no such request", Headers: noStore(), Content: html},
			"503": {Description: "Nobody knows right now", Headers: noStore(), Content: html},
		},
	}, nil, t.status)
}

// status answers GET /api/callbacks/{provider}/deletions/{code}.
func (t *Taker) status(w http.ResponseWriter, r *http.Request) {
	code := r.PathValue("code")
	var asked request
	var found bool
	var err error
	if _, known := t.cfg.Connectors[r.PathValue("provider")]; known && mayBeCode(code) {
		asked, found, err = t.store.deletion(r.Context(), r.PathValue("provider"), code)
	}
	left := 0
	if err == nil && found && len(asked.accounts) > 0 {
		left, err = t.cfg.Accounts.Left(r.Context(), asked.accounts)
	}
	if err != nil {
		t.cfg.Logger.ErrorContext(r.Context(), "look how a deletion stands", "error", err)
		t.pages.Show(w, http.StatusServiceUnavailable, page.Page{
			Title: "Not known right now", Text: []string{"Look again in a few minutes."}, Reference: w.Header().Get("X-Request-Id"),
		})
		return
	}
	if !found {
		t.pages.Show(w, http.StatusNotFound, page.Page{
			Title: "No such request", Text: []string{"There is no deletion request with this code. Requests are remembered for 90 days."},
		})
		return
	}
	t.pages.Show(w, http.StatusOK, standing(asked, left, code))
}

func standing(asked request, left int, code string) page.Page {
	p := page.Page{Title: "Your data is deleted", Reference: code}
	p.Text = []string{fmt.Sprintf("The request arrived on %s.", asked.at.UTC().Format("2 January 2006, 15:04 UTC"))}
	if left > 0 {
		p.Title = "Your data is being deleted"
		p.Text = append(p.Text, "The account, its access and the content of its posts here are being deleted. This takes some minutes.")
		return p
	}
	p.Text = append(p.Text, "The account, its access and the content of its posts are not stored here any more. "+
		"Messages about what was published are kept for up to 14 days and then go too.")
	return p
}
