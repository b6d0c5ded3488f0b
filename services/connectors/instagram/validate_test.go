package instagram

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
)

func TestValidateNamesEveryViolation(t *testing.T) {
	t.Parallel()
	const url = "https://example.com/a.jpg"
	child := func(mt connectors.MediaType, url, alt string) connectors.Child {
		return connectors.Child{MediaType: mt, MediaURL: url, AltText: alt}
	}
	children := func(n int) []connectors.Child {
		return slices.Repeat([]connectors.Child{child(connectors.Image, url, "")}, n)
	}
	for name, tc := range map[string]struct {
		post connectors.Post
		want []string
	}{
		"image":            {connectors.Post{MediaType: connectors.Image, MediaURL: url, AltText: "x", LocationID: "1", Caption: "c"}, nil},
		"video":            {connectors.Post{MediaType: connectors.Video, MediaURL: url, CoverURL: url}, nil},
		"story":            {connectors.Post{MediaType: connectors.Story, MediaURL: url}, nil},
		"carousel of 2":    {connectors.Post{MediaType: connectors.Carousel, Children: children(2)}, nil},
		"carousel of 10":   {connectors.Post{MediaType: connectors.Carousel, Children: children(10)}, nil},
		"carousel of 1":    {connectors.Post{MediaType: connectors.Carousel, Children: children(1)}, []string{"/children minItems"}},
		"carousel of none": {connectors.Post{MediaType: connectors.Carousel}, []string{"/children minItems"}},
		"carousel of 11":   {connectors.Post{MediaType: connectors.Carousel, Children: children(11)}, []string{"/children maxItems"}},
		"text":             {connectors.Post{MediaType: connectors.Text, Caption: "c"}, []string{"/mediaType unsupported"}},
		"link":             {connectors.Post{MediaType: connectors.Link, LinkURL: url}, []string{"/mediaType unsupported"}},
		"nothing":          {connectors.Post{}, []string{"/mediaType unsupported"}},
		"no media":         {connectors.Post{MediaType: connectors.Image}, []string{"/mediaUrl required"}},
		"no host":          {connectors.Post{MediaType: connectors.Image, MediaURL: "http:///x.jpg"}, []string{"/mediaUrl format"}},
		"other scheme":     {connectors.Post{MediaType: connectors.Video, MediaURL: "ftp://example.com/x"}, []string{"/mediaUrl format"}},
		"not public":       {connectors.Post{MediaType: connectors.Image, MediaURL: "https://a:b@example.com/x.jpg"}, []string{"/mediaUrl format"}},
		"2200 characters":  {connectors.Post{MediaType: connectors.Image, MediaURL: url, Caption: strings.Repeat("é", 2200)}, nil},
		"2201 characters":  {connectors.Post{MediaType: connectors.Image, MediaURL: url, Caption: strings.Repeat("a", 2201)}, []string{"/caption maxLength"}},
		"30 and 20 marks":  {connectors.Post{MediaType: connectors.Image, MediaURL: url, Caption: strings.Repeat("#a ", 30) + strings.Repeat("@b ", 20) + "mail@example.com # @"}, nil},
		"31 and 21 marks":  {connectors.Post{MediaType: connectors.Image, MediaURL: url, Caption: strings.Repeat("#a", 31) + strings.Repeat(" @b", 21)}, []string{"/caption maxHashtags", "/caption maxMentions"}},
		"alt text of 1001": {connectors.Post{MediaType: connectors.Image, MediaURL: url, AltText: strings.Repeat("a", 1001)}, []string{"/altText maxLength"}},
		"location":         {connectors.Post{MediaType: connectors.Image, MediaURL: url, LocationID: "Berlin"}, []string{"/locationId format"}},
		"story of what":    {connectors.Post{MediaType: connectors.Story, MediaURL: "https://example.com/story"}, []string{"/options/storyType required"}},
		"story has no text": {
			connectors.Post{MediaType: connectors.Story, MediaURL: url, Caption: "c", AltText: "a", LocationID: "1", CoverURL: url},
			[]string{"/caption unsupported", "/altText unsupported", "/coverUrl unsupported", "/locationId unsupported"},
		},
		"fields of others": {
			connectors.Post{MediaType: connectors.Image, MediaURL: url, Title: "t", LinkURL: url, CoverURL: url, Children: children(1)},
			[]string{"/children unsupported", "/title unsupported", "/linkUrl unsupported", "/coverUrl unsupported"},
		},
		"alt text of a video": {connectors.Post{MediaType: connectors.Video, MediaURL: url, AltText: "a"}, []string{"/altText unsupported"}},
		"everything at once": {
			connectors.Post{
				MediaType: connectors.Carousel, MediaURL: url, Caption: strings.Repeat("a", 2201), Options: json.RawMessage(`{"x":1}`),
				Children: []connectors.Child{child(connectors.Video, "", "a"), child(connectors.Story, "x", ""), child(connectors.Image, url, strings.Repeat("a", 1001))},
			},
			[]string{
				"/children/0/mediaUrl required", "/children/0/altText unsupported", "/children/1/mediaType unsupported", "/children/1/mediaUrl format",
				"/children/2/altText maxLength", "/mediaUrl unsupported", "/caption maxLength", "/options/x unknown",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := rules(setup(t).c.Validate(tc.post)); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func rules(found []connectors.Violation) []string {
	var list []string
	for _, v := range found {
		if v.Message == "" {
			list = append(list, "no message")
		}
		list = append(list, v.Field+" "+v.Rule)
	}
	return list
}

func TestOptionsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		mediaType connectors.MediaType
		options   string
		want      []string
	}{
		{connectors.Image, ``, nil},
		{connectors.Image, `{}`, nil},
		{connectors.Image, `{"collaborators":["a","b","c"],"userTags":[{"username":"a","x":0,"y":1}],"isAiGenerated":true}`, nil},
		{connectors.Video, `{"shareToFeed":false,"thumbOffset":1500,"audioName":"a","trialGraduation":"SS_PERFORMANCE"}`, nil},
		{connectors.Carousel, `{"shareToFeed":true,"collaborators":[]}`, nil},
		{connectors.Story, `{"storyType":"VIDEO","userTags":[{"username":"a"}]}`, nil},
		{connectors.Image, `[]`, []string{"/options type"}},
		{connectors.Image, `null`, []string{"/options type"}},
		{connectors.Image, `{"sharetofeed":true,"a/b~c":1}`, []string{"/options/a~1b~0c unknown", "/options/sharetofeed unknown"}},
		{connectors.Image, `{"shareToFeed":true,"storyType":"IMAGE","thumbOffset":1}`, []string{"/options/shareToFeed unsupported", "/options/storyType unsupported", "/options/thumbOffset unsupported"}},
		{connectors.Story, `{"storyType":"image","collaborators":["a"],"isAiGenerated":true}`, []string{"/options/collaborators unsupported", "/options/isAiGenerated unsupported", "/options/storyType format"}},
		{connectors.Video, `{"shareToFeed":"true","thumbOffset":-1,"audioName":3,"trialGraduation":"NO","isAiGenerated":null}`, []string{
			"/options/audioName format", "/options/isAiGenerated format", "/options/shareToFeed format", "/options/thumbOffset format", "/options/trialGraduation format",
		}},
		{connectors.Video, `{"thumbOffset":null,"collaborators":null,"userTags":null}`, []string{"/options/collaborators format", "/options/thumbOffset format", "/options/userTags format"}},
		{connectors.Video, `{"thumbOffset":1.5}`, []string{"/options/thumbOffset format"}},
		{connectors.Image, `{"collaborators":["a","b","c","d"]}`, []string{"/options/collaborators format"}},
		{connectors.Image, `{"collaborators":[""]}`, []string{"/options/collaborators format"}},
		{connectors.Image, `{"userTags":[{"username":"a","x":1.1,"y":0}]}`, []string{"/options/userTags format"}},
		{connectors.Image, `{"userTags":[{"username":"a","x":1}]}`, []string{"/options/userTags format"}},
		{connectors.Image, `{"userTags":[{"x":1,"y":1}]}`, []string{"/options/userTags format"}},
		{connectors.Image, `{"userTags":[{"username":"a","z":1}]}`, []string{"/options/userTags format"}},
	} {
		b := setup(t)
		_, found := b.c.parseOptions(connectors.Post{MediaType: tc.mediaType, Options: json.RawMessage(tc.options)})
		if got := rules(found); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s %s: got %q, want %q", tc.mediaType, tc.options, got, tc.want)
		}
	}
}

func TestPostWithOptionsNobodyCheckedIsRefusedAndNotSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := image
	p.Options = json.RawMessage(`{"x":1}`)
	_, _, err := b.prepare(p, checkpoint{})
	if e := wantError(t, err, connectors.KindReject); len(e.Violations) != 1 || e.Code != connectors.CodeValidation {
		t.Errorf("got %+v", e)
	}
}

func TestOptionsThatNoLongerPassDoNotKeepFindFromLooking(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/c1", statusReply("FINISHED")).on("GET "+mediaPath, b.page(""))
	p := image
	p.Options = json.RawMessage(`{"x":1}`)
	if found, _, err := b.find(p, b.attempt(), b.prepared()); err != nil || found.Verdict != connectors.Absent {
		t.Errorf("got %+v, %v", found, err)
	}
}
