package instagram

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

func TestCreateSendsWhatTheKindOfPostTakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		post connectors.Post
		cp   checkpoint
		want url.Values
	}{
		"image": {
			post: connectors.Post{
				MediaType: connectors.Image, MediaURL: "https://example.com/a b.jpg?x=1&y=2", Caption: "Grüße & #fun", AltText: "a cat", LocationID: "7640348500",
				Options: json.RawMessage(`{"collaborators":["a","b"],"userTags":[{"username":"c","x":0.5,"y":0}],"isAiGenerated":false}`),
			},
			want: url.Values{
				"image_url": {"https://example.com/a b.jpg?x=1&y=2"}, "caption": {"Grüße & #fun"}, "alt_text": {"a cat"}, "location_id": {"7640348500"},
				"collaborators": {`["a","b"]`}, "user_tags": {`[{"username":"c","x":0.5,"y":0}]`}, "is_ai_generated": {"false"},
			},
		},
		"video is a reel": {
			post: connectors.Post{
				MediaType: connectors.Video, MediaURL: "https://example.com/v.mp4", Caption: "c", CoverURL: "https://example.com/c.jpg", LocationID: "1",
				Options: json.RawMessage(`{"shareToFeed":true,"thumbOffset":0,"audioName":"song","trialGraduation":"MANUAL","userTags":[{"username":"c"}]}`),
			},
			want: url.Values{
				"media_type": {"REELS"}, "video_url": {"https://example.com/v.mp4"}, "caption": {"c"}, "cover_url": {"https://example.com/c.jpg"}, "location_id": {"1"},
				"share_to_feed": {"true"}, "thumb_offset": {"0"}, "audio_name": {"song"}, "trial_params": {`{"graduation_strategy":"MANUAL"}`}, "user_tags": {`[{"username":"c"}]`},
			},
		},
		"story with an image": {
			post: connectors.Post{MediaType: connectors.Story, MediaURL: "https://example.com/s.JPG?w=1"},
			want: url.Values{"media_type": {"STORIES"}, "image_url": {"https://example.com/s.JPG?w=1"}},
		},
		"story with a video by its suffix": {
			post: connectors.Post{MediaType: connectors.Story, MediaURL: "https://example.com/s.mov"},
			want: url.Values{"media_type": {"STORIES"}, "video_url": {"https://example.com/s.mov"}},
		},
		"story with a video by option": {
			post: connectors.Post{MediaType: connectors.Story, MediaURL: "https://example.com/s", Options: json.RawMessage(`{"storyType":"VIDEO"}`)},
			want: url.Values{"media_type": {"STORIES"}, "video_url": {"https://example.com/s"}},
		},
		"carousel image": {
			post: mixedCarousel(),
			want: url.Values{"is_carousel_item": {"true"}, "image_url": {"https://example.com/0.jpg"}, "alt_text": {"first"}},
		},
		"carousel video": {
			post: mixedCarousel(), cp: checkpoint{Children: []container{{ID: "k0"}, {}}},
			want: url.Values{"is_carousel_item": {"true"}, "media_type": {"VIDEO"}, "video_url": {"https://example.com/1.mp4"}},
		},
		"carousel": {
			post: mixedCarousel(), cp: checkpoint{Children: []container{{ID: "k0", Finished: true}, {ID: "k1", Finished: true}}},
			want: url.Values{"media_type": {"CAROUSEL"}, "children": {"k0,k1"}, "caption": {"both"}, "location_id": {"1"}, "share_to_feed": {"false"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if wrong := b.c.Validate(tc.post); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			b.on("POST "+mediaPath, reply{body: `{"id":"c1"}`})
			if _, _, err := b.prepare(tc.post, tc.cp); err != nil {
				t.Fatal(err)
			}
			if got := b.requests(); len(got) != 1 || !reflect.DeepEqual(got[0].form, tc.want) {
				t.Errorf("sent %v\nwant %v", got, tc.want)
			}
		})
	}
}

func mixedCarousel() connectors.Post {
	return connectors.Post{
		MediaType: connectors.Carousel, Caption: "both", LocationID: "1", Options: json.RawMessage(`{"shareToFeed":false}`),
		Children: []connectors.Child{
			{MediaType: connectors.Image, MediaURL: "https://example.com/0.jpg", AltText: "first"},
			{MediaType: connectors.Video, MediaURL: "https://example.com/1.mp4"},
		},
	}
}

func TestPrepareOfAnImageCreatesPollsReadsTheQuotaAndIsReady(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("POST "+mediaPath, reply{body: `{"id":"c1"}`})
	b.on("GET /v25.0/c1", statusReply("IN_PROGRESS"), statusReply("FINISHED"))
	b.on("GET "+quotaPath, reply{body: `{"data":[{"quota_usage":2,"config":{"quota_total":50,"quota_duration":86400}}]}`})
	var cp checkpoint
	for i, want := range []connectors.Step{
		{Next: connectors.Wait, Wait: 2 * time.Second},
		{Next: connectors.Wait, Wait: 3 * time.Second},
		{Next: connectors.Continue},
		{Next: connectors.Ready, FreshFor: 23 * time.Hour},
	} {
		step, next, err := b.prepare(image, cp)
		if err != nil || step.Next != want.Next || step.Wait != want.Wait || step.FreshFor != want.FreshFor {
			t.Fatalf("step %d: got %+v, %v", i, step, err)
		}
		cp = next
	}
	if cp.Main.Finished {
		t.Error("the next Prepare would believe this one's reading")
	}
	var paths []string
	for _, r := range b.requests() {
		paths = append(paths, r.method+" "+r.path+" "+r.query.Get("fields"))
	}
	want := []string{"POST " + mediaPath + " ", "GET /v25.0/c1 id,status_code,status", "GET /v25.0/c1 id,status_code,status", "GET " + quotaPath + " quota_usage,config"}
	if !reflect.DeepEqual(paths, want) {
		t.Errorf("called %q", paths)
	}
}

func TestPrepareOfACarouselWaitsForEachChildBeforeTheParent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("POST "+mediaPath, reply{body: `{"id":"k0"}`}, reply{body: `{"data":[{"id":17900000000000001}]}`}, reply{body: `{"id":"c1"}`})
	b.on("GET /v25.0/k0", statusReply("FINISHED"))
	b.on("GET /v25.0/17900000000000001", statusReply("IN_PROGRESS"), statusReply("FINISHED"))
	b.on("GET /v25.0/c1", statusReply("FINISHED"))
	b.on("GET "+quotaPath, reply{body: `{"quota_usage":2,"config":{"quota_total":50}}`})
	var cp checkpoint
	var nexts []connectors.Next
	for range 9 {
		step, next, err := b.prepare(mixedCarousel(), cp)
		if err != nil {
			t.Fatal(err)
		}
		cp, nexts = next, append(nexts, step.Next)
	}
	want := []connectors.Next{0, connectors.Wait, 0, connectors.Wait, 0, connectors.Wait, 0, connectors.Ready}
	if !reflect.DeepEqual(nexts[:8], want) {
		t.Errorf("got %v, want %v", nexts, want)
	}
	if got := b.requests()[5].form.Get("children"); got != "k0,17900000000000001" {
		t.Errorf("children are %q", got)
	}
}

func TestPrepareAfterReadyReadsTheStatusAgainAndNeverPublishesTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/c1", statusReply("PUBLISHED"))
	_, _, err := b.prepare(image, b.prepared())
	wantError(t, err, connectors.KindUnknown)
}

func TestPrepareBelievesAQuotaForAWhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/c1", statusReply("FINISHED"))
	b.on("GET "+quotaPath, reply{body: `{"data":[{"quota_usage":2,"config":{"quota_total":50}}]}`})
	cp := b.prepared()
	if step, _, err := b.prepare(image, cp); err != nil || step.Next != connectors.Ready {
		t.Fatalf("got %+v, %v", step, err)
	}
	b.now = b.now.Add(11 * time.Minute)
	step, cp, err := b.prepare(image, cp)
	if err != nil || step.Next != connectors.Continue {
		t.Fatalf("got %+v, %v", step, err)
	}
	if step, _, err = b.prepare(image, cp); err != nil || step.Next != connectors.Ready || step.Call.Name != callQuota {
		t.Fatalf("got %+v, %v", step, err)
	}
}

func TestPrepareWaitsForAUsedUpQuota(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET "+quotaPath, reply{body: `{"data":[{"quota_usage":50,"config":{"quota_total":50}}]}`})
	cp := b.prepared()
	cp.Main.Finished = true
	_, _, err := b.prepare(image, cp)
	e := wantError(t, err, connectors.KindWait)
	if e.Scope != connectors.ScopeAccount || e.Reason != connectors.ReasonQuota || e.Wait != 15*time.Minute || e.Code != connectors.CodeQuotaExhausted {
		t.Errorf("got %+v", e)
	}
}

func TestPrepareIsReadyWhenTheQuotaCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]reply{
		"100/33": graphError(100, 33), "no total": {body: `{"data":[{"quota_usage":5}]}`}, "empty": {body: `{"data":[]}`},
	} {
		b := setup(t)
		b.on("GET "+quotaPath, r)
		cp := b.prepared()
		cp.Main.Finished = true
		if step, _, err := b.prepare(image, cp); err != nil || step.Next != connectors.Ready {
			t.Errorf("%s: got %+v, %v", name, step, err)
		}
	}
}

func TestPrepareReadsAStatusThatOnlyStandsInWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Finished: Media has been uploaded and it is ready to be published.": finished,
		"Published: Media has been successfully published.":                  published,
		"In progress: Media is still being processed.":                       inProgress,
		"Error: Media download has failed.":                                  failed,
		"Expired: too late":                                                  expired,
		"Something else":                                                     "",
	} {
		if got := statusCode("", text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	if got := statusCode("FINISHED", "In progress: x"); got != finished {
		t.Errorf("got %q", got)
	}
}

func TestContainerThatCameToNothingIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status reply
		age    time.Duration
	}{
		"expired":                         {status: statusReply("EXPIRED")},
		"failed in words":                 {status: reply{body: `{"status_code":"ERROR","status":"Error: Media download has failed. The media URI doesn't meet our requirements."}`}},
		"failed with a retryable subcode": {status: reply{body: `{"status_code":"ERROR","status":"Error: 2207032"}`}},
		"stuck":                           {status: statusReply("IN_PROGRESS"), age: 31 * time.Minute},
		"too old to wait":                 {status: statusReply("FINISHED"), age: 23*time.Hour + time.Minute},
		"unreadable and past its time":    {status: graphError(100, 33), age: 25 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.on("GET /v25.0/c1", tc.status)
			cp := b.prepared()
			cp.Main.CreatedAt = b.now.Add(-tc.age)
			step, cp, err := b.prepare(image, cp)
			if err != nil || cp.Main.ID != "" || step.Next == connectors.Ready {
				t.Fatalf("got %+v, %+v, %v", step, cp, err)
			}
			b.on("POST "+mediaPath, reply{body: `{"id":"c2"}`})
			if _, cp, err = b.prepare(image, cp); err != nil || cp.Main.ID != "c2" {
				t.Errorf("got %+v, %v", cp, err)
			}
		})
	}
}

func TestContainerIsKeptWhileNothingProvesThatItCameToNothing(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]reply{
		"100/33": graphError(100, 33), "media not found": graphError(24, 2207006), "500": {status: 500}, "not JSON": {body: "<html>"},
	} {
		b := setup(t)
		b.on("GET /v25.0/c1", r)
		_, cp, err := b.prepare(image, b.prepared())
		wantError(t, err, connectors.KindRetry)
		if cp.Main.ID != "c1" {
			t.Errorf("%s: the container is gone", name)
		}
	}
}

func TestContainerThatFailsForeverEndsThePost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("POST "+mediaPath, graphError(9004, 2207052))
	var cp checkpoint
	var waits []time.Duration
	for range 4 {
		step, next, err := b.prepare(image, cp)
		if err != nil || step.Next != connectors.Wait {
			t.Fatalf("got %+v, %v", step, err)
		}
		cp, waits = next, append(waits, step.Wait)
	}
	_, _, err := b.prepare(image, cp)
	if e := wantError(t, err, connectors.KindReject); e.Code != connectors.CodeMediaUnreachable || e.ProviderCode != "9004/2207052" {
		t.Errorf("got %+v", e)
	}
	if want := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute}; !reflect.DeepEqual(waits, want) {
		t.Errorf("waited %v", waits)
	}
}

func TestContainerWhoseStatusNamesAPermanentSubcodeIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/c1", reply{body: `{"status_code":"ERROR","status":"Error: Media upload has failed with error code 2207026"}`})
	_, _, err := b.prepare(video, b.prepared())
	if e := wantError(t, err, connectors.KindReject); e.Code != connectors.CodeMediaRejected || e.ProviderCode != "ERROR/2207026" {
		t.Errorf("got %+v", e)
	}
}

func TestFailedChildAloneIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/k1", reply{body: `{"status_code":"ERROR","status":"Error"}`})
	cp := checkpoint{Children: []container{{ID: "k0", CreatedAt: b.now, Finished: true}, {ID: "k1", CreatedAt: b.now}}}
	_, cp, err := b.prepare(mixedCarousel(), cp)
	if err != nil || cp.Children[0].ID != "k0" || cp.Children[1].ID != "" {
		t.Errorf("got %+v, %v", cp, err)
	}
}

func TestRefusedParentMakesItsChildrenAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("POST "+mediaPath, graphError(-2, 2207020))
	cp := checkpoint{Children: []container{{ID: "k0", Finished: true}, {ID: "k1", Finished: true}}}
	_, cp, err := b.prepare(mixedCarousel(), cp)
	if err != nil || cp.Children[0].ID != "" || cp.Children[1].ID != "" {
		t.Errorf("got %+v, %v", cp, err)
	}
}

func TestPrepareOfAnUnknownCheckpointWaitsForAProcessThatKnowsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, raw := range []string{`{"v":2}`, `[]`, `{`} {
		_, err := b.c.Prepare(t.Context(), b.account, image, connectors.Checkpoint(raw))
		wantError(t, err, connectors.KindRetry)
	}
}

func TestPollsGrowApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, tc := range []struct {
		video bool
		polls int
		want  time.Duration
	}{
		{false, 0, 2 * time.Second}, {false, 1, 3 * time.Second}, {false, 20, 30 * time.Second},
		{true, 0, 5 * time.Second}, {true, 20, time.Minute},
	} {
		if got := b.c.pollWait(tc.video, tc.polls); got != tc.want {
			t.Errorf("%+v: got %v", tc, got)
		}
	}
}

func TestErrorOfMetaIsQuotedOnlyWhereItTellsNothingPrivate(t *testing.T) {
	t.Parallel()
	post := connectors.Post{MediaType: connectors.Image, MediaURL: "https://example.com/secret-path/image.jpg", Caption: "Our wedding in June"}
	for text, want := range map[string]string{
		"Param collaborators\nmust be an array":                   "Param collaborators must be an array",
		"Malformed access token " + testToken:                     "",
		"Malformed access token " + testToken[:16] + "...":        "",
		"The caption 'wedding in June' is not allowed":            "",
		"Cannot fetch https://example.com/secret-path/image.jpg!": "",
	} {
		b := setup(t)
		message, _ := json.Marshal(text)
		b.on("POST "+mediaPath, reply{status: 400, body: fmt.Sprintf(`{"error":{"message":%s,"code":999,"is_transient":true}}`, message)})
		_, _, err := b.prepare(post, checkpoint{})
		if e := wantError(t, err, connectors.KindRetry); e.Message != want || strings.Contains(e.Error(), "wedding") {
			t.Errorf("%q became %q", text, e.Message)
		}
	}
}
