package instagram_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/instagram"
	"postbus.dev/services/connectors/sandbox"
	standin "postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

// factor makes a minute 1.2 seconds.
const factor = 0.02

// on is a bench with its sandbox at hand for the faults.
type on struct{ sb *sandbox.Sandbox }

func (o on) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.sb.Handler().ServeHTTP(w, r) }

// bench starts a sandbox of the hostile profile; tune changes its behavior.
func bench(tune string) func(t *testing.T) connectortest.Bench {
	return func(t *testing.T) connectortest.Bench {
		t.Helper()
		sb, err := sandbox.New(sandbox.Config{Factor: factor})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sb.Close)
		if err := sb.Tune(standin.Name, []byte(tune)); err != nil {
			t.Fatal(err)
		}
		acct := sb.Accounts(standin.Name)[0]
		return connectortest.Bench{
			Handler: on{sb},
			Account: connectors.Account{
				Provider: instagram.Name, ProviderAccountID: acct.ID, Username: acct.Username, AccessToken: connectors.NewSecret(acct.Token),
			},
			Posted: func() []connectors.RemotePost {
				var list []connectors.RemotePost
				for _, p := range sb.Posts(stage.PostFilter{Provider: standin.Name}) {
					if !p.Foreign {
						list = append(list, connectors.RemotePost{ID: p.ID, URL: p.Permalink, Caption: p.Text})
					}
				}
				return list
			},
		}
	}
}

// set switches a fault of the sandbox on, n times; 0 is for ever.
func set(f stage.Fault) func(*testing.T, connectortest.Bench) {
	return func(t *testing.T, b connectortest.Bench) {
		t.Helper()
		f := f // one fault, many tests
		f.Provider = standin.Name
		if _, err := b.Handler.(on).sb.SetFault(f); err != nil {
			t.Fatal(err)
		}
	}
}

func posts() map[string]connectors.Post {
	const image, video = "https://example.com/image.jpg", "https://example.com/video.mp4"
	return map[string]connectors.Post{
		"image": {
			MediaType: connectors.Image, MediaURL: image, Caption: "Hello @friend, it's #sunday\n\nCafé", AltText: "a cat", LocationID: "7640348500",
			Options: json.RawMessage(`{"collaborators":["a"],"userTags":[{"username":"b","x":0.5,"y":0.5}]}`),
		},
		"reel": {
			MediaType: connectors.Video, MediaURL: video, Caption: "Moving", CoverURL: image,
			Options: json.RawMessage(`{"shareToFeed":true,"thumbOffset":100}`),
		},
		"carousel": {
			MediaType: connectors.Carousel, Caption: "Both",
			Children: []connectors.Child{
				{MediaType: connectors.Image, MediaURL: image, AltText: "first"}, {MediaType: connectors.Video, MediaURL: video}, {MediaType: connectors.Image, MediaURL: image},
			},
		},
		"story": {MediaType: connectors.Story, MediaURL: video},
	}
}

func suite(tune string) connectortest.Suite {
	return connectortest.Suite{
		New: bench(tune), Factor: factor, Posts: posts(), Request: checkRequest,
		Connector: func(base string, c *connectors.Client, f float64) (connectors.Publisher, error) {
			return instagram.New(instagram.Config{Client: c, BaseURL: base + "/instagram", TimeFactor: f})
		},
	}
}

// checkRequest holds a request to what the API takes.
func checkRequest(r *http.Request, body []byte) error {
	form, err := url.ParseQuery(string(body))
	switch {
	case err != nil:
		return err
	case !strings.HasPrefix(r.URL.Path, "/instagram/v25.0/"):
		return fmt.Errorf("no version in the path")
	case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "):
		return fmt.Errorf("no bearer token")
	case form.Has("access_token") || r.URL.Query().Has("access_token"):
		return fmt.Errorf("token among the parameters")
	case r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/x-www-form-urlencoded":
		return fmt.Errorf("content type %q", r.Header.Get("Content-Type"))
	case r.Method == http.MethodGet && (len(body) > 0 || !r.URL.Query().Has("fields")):
		return fmt.Errorf("a read with a body or without fields")
	}
	return nil
}

// Without strangers' posts every outcome is certain.
func TestConformance(t *testing.T) {
	const c, w, f = connectortest.Completed, connectortest.Waiting, connectortest.Failed
	s := suite(`{"foreign":{"before":0,"after":0}}`)
	publish := func(f stage.Fault) func(*testing.T, connectortest.Bench) {
		f.Call = standin.CallPublish
		return set(f)
	}
	once := func(name string, code, subcode int, after bool) connectortest.Fault {
		return connectortest.Fault{
			Name: name, Want: []connectortest.State{c},
			Set: publish(stage.Fault{Switch: "error", Code: code, Subcode: subcode, After: after, Count: 1}),
		}
	}
	always := func(name string, code, subcode int, want connectortest.State) connectortest.Fault {
		return connectortest.Fault{
			Name: name, Want: []connectortest.State{want}, Set: publish(stage.Fault{Switch: "error", Code: code, Subcode: subcode}),
		}
	}
	read := func(name, sw, call string, count int) connectortest.Fault {
		return connectortest.Fault{
			Name: name, Want: []connectortest.State{c}, Set: set(stage.Fault{Switch: sw, Call: call, Count: count}),
		}
	}
	s.Faults = []connectortest.Fault{
		once("spam block, and it is live", 4, 2207051, true),
		once("spam block, and it is not", 4, 2207051, false),
		once("server error, and it is live", -1, 2207001, true),
		once("server error, and it is not", -1, 2207001, false),
		once("temporary error, and it is live", 2, 0, true),
		once("container unknown, and it is live", 24, 2207008, true),
		once("container unknown, and it is not", 24, 2207008, false),
		once("media not found", 24, 2207006, false),
		once("not ready", 9007, 2207027, false),
		once("unreadable object, and it is live", 100, 33, true),
		once("duplicate, and it is live", 506, 0, true),
		once("undocumented, and it is live", 424242, 0, true),
		always("quota", 9, 2207042, w),
		always("rate limit", 80002, 0, w),
		always("application limit", 4, 0, w),
		always("token expired", 190, 463, w),
		always("token dead", 190, 0, w),
		always("permission", 10, 0, w),
		always("restricted", 25, 2207050, f),
		always("media refused", 36003, 2207009, f),
		read("status only in words", "status_only", standin.CallContainer, 0),
		read("container unreadable at first", "read_100_33", standin.CallContainer, 2),
		read("permalink never readable", "read_100_33", standin.CallMedia, 0),
		read("fields refused", "fields_refused", standin.CallMedia, 0),
		read("container fails once", "container_error", standin.CallCreate, 1),
		read("container expires once", "container_expired", standin.CallCreate, 1),
		read("quota used up", "quota_full", standin.CallLimit, 0),
	}
	s.Faults[len(s.Faults)-1].Want = []connectortest.State{w}
	s.Run(t)
}

// With strangers' posts of the same caption some outcomes cannot be known; none
// may be wrong.
func TestOutcomeIsNeverWrongAmongStrangersPosts(t *testing.T) {
	s := suite(`{"foreign":{"before":1,"after":1}}`)
	for name, p := range posts() {
		for _, after := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, carried out: %v", name, after), func(t *testing.T) {
				t.Parallel()
				s := s
				s.Posts = map[string]connectors.Post{name: p}
				s.Faults = []connectortest.Fault{{
					Name: "server error", Want: []connectortest.State{connectortest.Completed, connectortest.Unconfirmed},
					Set: set(stage.Fault{Switch: "error", Call: standin.CallPublish, Code: 2, After: after, Count: 1}),
				}}
				s.RunFaults(t)
			})
		}
	}
}
