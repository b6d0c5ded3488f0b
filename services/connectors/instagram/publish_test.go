package instagram

import (
	"net/url"
	"reflect"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

func TestCommitPublishesTheContainerAndNamesTheMedia(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"id":"17920238422030506"}`, `{"id":17920238422030506}`, `{"data":[{"id":"17920238422030506"}]}`} {
		b := setup(t)
		b.on("POST "+pubPath, reply{body: body})
		step, cp, err := b.commit(image, b.prepared())
		if err != nil || step.Next != connectors.Accepted || step.Wait != 0 || step.Post == nil || step.Post.ID != "17920238422030506" {
			t.Fatalf("%s: got %+v, %v", body, step, err)
		}
		if cp.MediaID != "17920238422030506" || cp.Main.ID != "c1" {
			t.Errorf("%s: checkpoint %+v", body, cp)
		}
		want := []asked{{"POST", pubPath, url.Values{}, url.Values{"creation_id": {"c1"}}}}
		if got := b.requests(); !reflect.DeepEqual(got, want) {
			t.Errorf("sent %v", got)
		}
	}
}

func TestCommitWithoutAContainerSendsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, err := b.commit(image, checkpoint{})
	if e := wantError(t, err, connectors.KindRetry); !e.NotSent || !e.Restart {
		t.Errorf("got %+v", e)
	}
}

const goodMedia = `{"id":"m1","permalink":"https://www.instagram.com/p/Ab/","shortcode":"Ab","media_type":"IMAGE","media_product_type":"FEED",` +
	`"timestamp":"2026-11-22T12:00:05+0000","caption":"Hello","username":"demo"}`

func confirming() checkpoint { return checkpoint{Main: container{ID: "c1"}, MediaID: "m1"} }

func TestConfirmReadsThePermalink(t *testing.T) {
	t.Parallel()
	for _, body := range []string{goodMedia, `{"data":[` + goodMedia + `]}`} {
		b := setup(t)
		b.on("GET /v25.0/m1", reply{body: body})
		step, _, err := b.confirm(image, confirming())
		if err != nil || step.Next != connectors.Done {
			t.Fatalf("got %+v, %v", step, err)
		}
		want := connectors.RemotePost{
			ID: "m1", URL: "https://www.instagram.com/p/Ab/", Timestamp: time.Date(2026, 11, 22, 12, 0, 5, 0, time.UTC), Caption: "Hello",
			Metadata: []byte(`{"shortcode":"Ab","mediaType":"IMAGE","mediaProductType":"FEED","username":"demo"}`),
		}
		got := *step.Post
		got.Timestamp = got.Timestamp.UTC()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v", got)
		}
		if fields := b.requests()[0].query.Get("fields"); fields != mediaFields {
			t.Errorf("asked for %s", fields)
		}
	}
}

func TestConfirmAsksForFewerFieldsWhereSomeAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/m1", graphError(100, 0), reply{body: `{"id":"m1","permalink":"https://www.instagram.com/p/Ab/"}`})
	step, cp, err := b.confirm(image, confirming())
	if err != nil || step.Next != connectors.Continue {
		t.Fatalf("got %+v, %v", step, err)
	}
	step, _, err = b.confirm(image, cp)
	if err != nil || step.Next != connectors.Done || step.Post.URL != "https://www.instagram.com/p/Ab/" || step.Post.Caption != "Hello" {
		t.Fatalf("got %+v, %v", step, err)
	}
	if fields := b.requests()[1].query.Get("fields"); fields != bareFields {
		t.Errorf("asked for %s", fields)
	}
}

func TestConfirmNeverFailsAPostThatIsLive(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]reply{
		"100/33": graphError(100, 33), "4/2207051": graphError(4, 2207051), "500": {status: 500}, "token": graphError(190, 0),
		"refused fields for ever": graphError(100, 0), "another media": {body: `{"id":"m2"}`}, "limited": graphError(80002, 0), "not JSON": {body: "<"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.on("GET /v25.0/m1", r)
			cp := confirming()
			var waited time.Duration
			for range 6 {
				step, next, err := b.confirm(image, cp)
				if err != nil {
					t.Fatal(err)
				}
				if cp = next; step.Next == connectors.Done {
					if step.Post.ID != "m1" || step.Post.URL != "" || step.Note == "" || waited != 22*time.Second {
						t.Errorf("got %+v after %v", step, waited)
					}
					return
				}
				waited += step.Wait
			}
			t.Error("never done")
		})
	}
}
