package instagram

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

func TestTimingOfProduction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const day = 24 * time.Hour
	want := connectors.Timing{
		Lead: 2 * time.Minute, Commit: 30 * time.Second, Settle: 150 * time.Second, UserTO: 20 * time.Second,
		Look: 30 * time.Second, Window: 10 * time.Minute, Confirm: day,
		Watch:   []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, day, day, day, day, day, day, day},
		Backoff: 5 * time.Second, BackoffTo: 15 * time.Minute,
	}
	if got := b.c.Timing(image); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if want.Settle < want.UserTO+2*time.Minute {
		t.Error("settle does not cover TCP_USER_TIMEOUT and two minutes of processing")
	}
	if want.Window < looksForID*want.Look {
		t.Error("the window is too short to end the search for the id of a post that is live")
	}
}

func TestLeadIsLongerWhereAVideoIsProcessed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	story := func(url, options string) connectors.Post {
		return connectors.Post{MediaType: connectors.Story, MediaURL: url, Options: json.RawMessage(options)}
	}
	carousel := func(types ...connectors.MediaType) connectors.Post {
		p := connectors.Post{MediaType: connectors.Carousel}
		for _, mt := range types {
			p.Children = append(p.Children, connectors.Child{MediaType: mt})
		}
		return p
	}
	for _, tc := range []struct {
		post connectors.Post
		want time.Duration
	}{
		{image, 2 * time.Minute}, {video, 15 * time.Minute},
		{story("https://a/b.jpg", ""), 2 * time.Minute}, {story("https://a/b.mp4", ""), 15 * time.Minute},
		{story("https://a/b", `{"storyType":"IMAGE"}`), 2 * time.Minute}, {story("https://a/b", `{"storyType":"VIDEO"}`), 15 * time.Minute},
		{carousel(connectors.Image, connectors.Image), 2 * time.Minute}, {carousel(connectors.Image, connectors.Video), 15 * time.Minute},
	} {
		if got := b.c.Timing(tc.post).Lead; got != tc.want {
			t.Errorf("%+v: got %v", tc.post, got)
		}
	}
}

func TestTimeFactorScalesEverythingThatIsStated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.c.factor = 0.01
	if got := b.c.Timing(image); got.Commit != 300*time.Millisecond || got.Watch[0] != 3*time.Second {
		t.Errorf("got %+v", got)
	}
	if got := b.c.pollWait(false, 0); got != 20*time.Millisecond {
		t.Errorf("got %v", got)
	}
	b.on("POST "+mediaPath, graphError(80002, 0))
	_, _, err := b.prepare(image, checkpoint{})
	if e := wantError(t, err, connectors.KindWait); e.Wait != 36*time.Second {
		t.Errorf("got %v", e.Wait)
	}
}

func TestNewRefusesAConfigurationThatCannotWork(t *testing.T) {
	t.Parallel()
	client := connectors.NewClient(connectors.ClientConfig{})
	for name, cfg := range map[string]Config{
		"no client": {}, "no scheme": {Client: client, BaseURL: "graph.instagram.com"}, "version": {Client: client, Version: "25"}, "factor": {Client: client, TimeFactor: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c, err := New(Config{Client: client})
	if err != nil || c.base != "https://graph.instagram.com/v25.0" || c.factor != 1 {
		t.Errorf("got %+v, %v", c, err)
	}
}
