package instagram_test

import (
	"bytes"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"

	"postbus.dev/services/connectors/sandbox/instagram"
)

func TestTheRulesOfEachKindOfContainer(t *testing.T) {
	const jpg, mp4 = "https://example.com/a.jpg", "https://example.com/a.mp4"
	long := func(n int) string { return strings.Repeat("x", n) }
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		for _, c := range []struct {
			name, want string
			params     []string
		}{
			{"image", "", []string{"image_url", jpg, "caption", "c", "alt_text", "a", "location_id", "123"}},
			{"image with everything", "", []string{"image_url", jpg, "user_tags", `[{"username":"bob","x":0.5,"y":1}]`, "collaborators", `["a","b","c"]`, "is_ai_generated", "true"}},
			{"no media", "100", []string{"caption", "c"}},
			{"image as IMAGE", "100/2207023", []string{"media_type", "IMAGE", "image_url", jpg}},
			{"video without type", "100", []string{"video_url", mp4}},
			{"plain video", "100", []string{"media_type", "VIDEO", "video_url", mp4}},
			{"reel", "", []string{"media_type", "REELS", "video_url", mp4, "cover_url", jpg, "share_to_feed", "true", "thumb_offset", "1000"}},
			{"trial reel", "", []string{"media_type", "REELS", "video_url", mp4, "trial_params", `{"graduation_strategy":"MANUAL"}`}},
			{"trial reel of another kind", "100", []string{"media_type", "REELS", "video_url", mp4, "trial_params", `{"graduation_strategy":"X"}`}},
			{"reel with an image", "100", []string{"media_type", "REELS", "image_url", jpg}},
			{"reel with alt text", "100", []string{"media_type", "REELS", "video_url", mp4, "alt_text", "a"}},
			{"thumb offset", "1/2207057", []string{"media_type", "REELS", "video_url", mp4, "thumb_offset", "-1"}},
			{"story", "", []string{"media_type", "STORIES", "image_url", jpg}},
			{"story of a video", "", []string{"media_type", "STORIES", "video_url", mp4}},
			{"story of both", "100", []string{"media_type", "STORIES", "video_url", mp4, "image_url", jpg}},
			{"story with collaborators", "100", []string{"media_type", "STORIES", "image_url", jpg, "collaborators", `["a"]`}},
			{"child with a caption", "100", []string{"image_url", jpg, "is_carousel_item", "true", "caption", "c"}},
			{"child made by ai", "100", []string{"image_url", jpg, "is_carousel_item", "true", "is_ai_generated", "true"}},
			{"reel as a child", "100", []string{"media_type", "REELS", "video_url", mp4, "is_carousel_item", "true"}},
			{"carousel of one", "100/2207028", []string{"media_type", "CAROUSEL", "children", "1"}},
			{"carousel of eleven", "100/2207028", []string{"media_type", "CAROUSEL", "children", "1,2,3,4,5,6,7,8,9,10,11"}},
			{"carousel of strangers", "24/2207006", []string{"media_type", "CAROUSEL", "children", "1,2"}},
			{"unknown type", "100/2207023", []string{"media_type", "POEM", "image_url", jpg}},
			{"caption of 2200", "", []string{"image_url", jpg, "caption", strings.Repeat("é", 2200)}},
			{"caption of 2201", "36004/2207010", []string{"image_url", jpg, "caption", long(2201)}},
			{"31 hashtags", "100/2207040", []string{"image_url", jpg, "caption", strings.Repeat("#a ", 31)}},
			{"21 mentions", "100/2207040", []string{"image_url", jpg, "caption", strings.Repeat("@a ", 21)}},
			{"alt text of 1001", "100", []string{"image_url", jpg, "alt_text", long(1001)}},
			{"four collaborators", "100", []string{"image_url", jpg, "collaborators", `["a","b","c","d"]`}},
			{"collaborators as text", "100", []string{"image_url", jpg, "collaborators", "a,b"}},
			{"tag outside", "100", []string{"image_url", jpg, "user_tags", `[{"username":"bob","x":1.5,"y":0}]`}},
			{"location by name", "100", []string{"image_url", jpg, "location_id", "Berlin"}},
			{"no boolean", "100", []string{"image_url", jpg, "is_ai_generated", "yes"}},
			{"relative url", "9004/2207052", []string{"image_url", "/a.jpg"}},
			{"file url", "9004/2207052", []string{"image_url", "file:///a.jpg"}},
			{"unknown parameter", "100", []string{"image_url", jpg, "scheduled_publish_time", "1"}},
		} {
			if r := b.call("POST", "/{ig}/media", c.params...); r.code() != c.want {
				t.Errorf("%s: %q, want %q: %v", c.name, r.code(), c.want, r.body)
			}
		}
	})
}

func TestUnknownParametersAreIgnoredAndLoggedWhenFaithful(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.create("image_url", "https://example.com/a.jpg", "scheduled_publish_time", "1", "share_to_feed", "true")
		calls := b.st.Calls.List(stageCalls())
		if last := calls[len(calls)-1]; len(last.Unknown) != 1 || last.Unknown[0] != "scheduled_publish_time" {
			t.Errorf("log: %+v", last)
		}
		r := b.call("POST", "/{ig}/media", "image_url", "https://example.com/a.jpg", "is_carousel_item", "true", "is_ai_generated", "true")
		if r.code() != "100" {
			t.Errorf("is_ai_generated on a child: %v", r.body)
		}
	})
}

func TestParametersComeAsQueryFormMultipartOrJSON(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		path := "/" + b.acct.ID + "/media"
		b.id(b.serve(httptest.NewRequest("POST", path+"?image_url=https%3A%2F%2Fexample.com%2Fa.jpg&access_token="+b.acct.Token, nil)))

		json := httptest.NewRequest("POST", path, strings.NewReader(`{"image_url":"https://example.com/a.jpg","is_ai_generated":true,"collaborators":["a"]}`))
		json.Header.Set("Content-Type", "application/json")
		json.Header.Set("Authorization", "Bearer "+b.acct.Token)
		b.id(b.serve(json))

		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for name, v := range map[string]string{"image_url": "https://example.com/a.jpg", "access_token": b.acct.Token} {
			if err := form.WriteField(name, v); err != nil {
				t.Fatal(err)
			}
		}
		if err := form.Close(); err != nil {
			t.Fatal(err)
		}
		multi := httptest.NewRequest("POST", path, &body)
		multi.Header.Set("Content-Type", form.FormDataContentType())
		b.id(b.serve(multi))
	})
}
