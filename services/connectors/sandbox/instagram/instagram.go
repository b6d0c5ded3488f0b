// Package instagram is a stand-in for the Instagram API with Instagram Login:
// the content publishing endpoints, the reads around them and the token
// endpoints, as Meta documents them and as they are seen to behave. It never
// fetches a media URL, so any URL works offline.
//
// Every path is served with a version (/v25.0/...) and without.
package instagram

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// Name is the provider's name.
const Name = "instagram"

// The names of the calls, as faults and the call log use them.
const (
	CallCreate     = "container_create"
	CallContainer  = "container_read"
	CallPublish    = "media_publish"
	CallMedia      = "media_read"
	CallList       = "media_list"
	CallStories    = "stories_list"
	CallLimit      = "publishing_limit"
	CallMe         = "me"
	CallCode       = "token_code"
	CallExchange   = "token_exchange"
	CallRefresh    = "token_refresh"
	CallDisconnect = "permissions_delete"
	CallDelete     = "media_delete" // refused: the provider has no such call for this login
	CallAuthorize  = "authorize"    // the page for permissions
	CallDecide     = "authorize_decide"

	// Not calls to the stand-in, but its own.
	CallDeauthorize = "callback_deauthorize"
	CallDeletion    = "callback_deletion"
)

// Instagram is the stand-in.
type Instagram struct {
	stage.Tuned[Behavior]

	st    *stage.Stage
	pages *consent.Pages
	turn  atomic.Int64 // alternates the answer shapes

	mu         sync.Mutex
	containers map[string]*container
	order      []string // container ids, oldest first, to forget the oldest
	media      map[string]*media
	users      map[string]*user
}

// user is what the stand-in keeps of one account.
type user struct {
	feed         []*media // by time, oldest first
	stories      []*media
	published    []time.Time // within the rolling window
	created      []time.Time // containers, within the rolling window
	calls        int
	callsSince   time.Time
	blockedUntil time.Time
}

// What is kept, so that a long run does not grow without bound.
const (
	keepContainers = 200_000
	keepMedia      = 10_000 // of each account and list: what the provider lists
)

var (
	_ stage.Provider = (*Instagram)(nil)
	_ stage.Tunable  = (*Instagram)(nil)
	_ stage.Planter  = (*Instagram)(nil)
	_ stage.Caller   = (*Instagram)(nil)
	_ stage.Keeper   = (*Instagram)(nil)
)

// New makes the stand-in.
func New(st *stage.Stage, b Behavior) *Instagram {
	ig := &Instagram{st: st, pages: consent.New("Instagram", apps), containers: map[string]*container{}, media: map[string]*media{}, users: map[string]*user{}}
	ig.Set(b)
	return ig
}

// Calls returns the names above.
func (ig *Instagram) Calls() []string {
	return []string{
		CallCreate, CallContainer, CallPublish, CallMedia, CallList, CallStories, CallLimit, CallMe,
		CallCode, CallExchange, CallRefresh, CallDisconnect, CallDelete, CallAuthorize, CallDecide,
		CallDeauthorize, CallDeletion,
	}
}

// Name returns "instagram".
func (ig *Instagram) Name() string { return Name }

// Settings leads the connector to the Graph API and the pages beside it.
func (ig *Instagram) Settings(root string, c stage.Client) map[string]string {
	return map[string]string{
		"INSTAGRAM_CLIENT_ID": c.ID, "INSTAGRAM_CLIENT_SECRET": c.Secret,
		"INSTAGRAM_BASE_URL": root, "INSTAGRAM_AUTHORIZE_URL": root + "/oauth/authorize", "INSTAGRAM_TOKEN_URL": root + "/oauth/access_token",
	}
}

// Handler serves the Graph API, the token endpoints, the page for permissions
// and the page where a person removes an app.
func (ig *Instagram) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apps", ig.showApps)
	mux.HandleFunc("POST /apps", ig.changeApps)
	mux.HandleFunc("/", ig.serve)
	return mux
}

func (ig *Instagram) serve(w http.ResponseWriter, r *http.Request) {
	c, err := ig.read(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ig.st.Play(w, r, stage.Act{
		Provider: Name, Call: c.name, Account: c.account.ID, Params: c.params.names(), Unknown: c.params.unknown(c.name),
		Do: func(n int64) stage.Answer {
			c.n = n
			return ig.answer(c)
		},
	})
}

// answer checks what every call needs and carries it out.
func (ig *Instagram) answer(c *call) stage.Answer {
	if c.op == nil {
		return ig.fail(c, errUnsupported(c.method, c.path))
	}
	if e := ig.admit(c); e != nil {
		return ig.fail(c, e)
	}
	if c.name == CallPublish {
		ig.st.Wait(ig.draw(ig.Now().Publish)) // without the lock: others are served meanwhile
	}
	ig.mu.Lock()
	defer ig.mu.Unlock()
	out, e := c.op(ig, c)
	if e != nil {
		return ig.fail(c, e)
	}
	if page, ok := out.(stage.Answer); ok {
		return page
	}
	return ig.ok(c, out)
}

// admit checks version, token and permission, and counts the call.
func (ig *Instagram) admit(c *call) *apiError {
	if c.open {
		return nil
	}
	if e := checkVersion(c.version); e != nil {
		return e
	}
	if e := ig.checkToken(c); e != nil {
		return e
	}
	if e := ig.checkUnknown(c); e != nil {
		return e
	}
	return ig.throttle(c)
}

var version = regexp.MustCompile(`^v(\d+)\.\d+$`)

// checkVersion refuses the versions that have ended or are not there yet.
func checkVersion(v string) *apiError {
	m := version.FindStringSubmatch(v)
	if v == "" || m != nil && m[1] >= "21" && m[1] <= "26" && len(m[1]) == 2 {
		return nil
	}
	return &apiError{Code: 2635, Message: fmt.Sprintf("(#2635) You are calling a version of the Graph API (%s) that does not exist or has ended", v)}
}

func (ig *Instagram) ok(c *call, out any) stage.Answer {
	b, err := json.Marshal(out)
	if err != nil {
		return stage.Answer{Status: http.StatusInternalServerError}
	}
	return stage.Answer{Status: http.StatusOK, Header: ig.headers(c, ig.trace()), Body: b}
}

// user returns the state of an account; the lock is held.
func (ig *Instagram) user(id string) *user {
	u := ig.users[id]
	if u == nil {
		u = &user{}
		ig.users[id] = u
	}
	return u
}

// within drops the times that have left the rolling window of a day.
func (ig *Instagram) within(times []time.Time) []time.Time {
	from := time.Now().Add(-ig.st.Scale(24 * time.Hour))
	for len(times) > 0 && times[0].Before(from) {
		times = times[1:]
	}
	return times
}

// splitVersion takes the version off a path.
func splitVersion(path string) (v string, rest []string) {
	rest = strings.Split(strings.Trim(path, "/"), "/")
	if version.MatchString(rest[0]) {
		return rest[0], rest[1:]
	}
	return "", rest
}
