package instagram

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"postbus.dev/services/connectors"
)

// options is the connector's own object in a request. Every member may be left
// out.
type options struct {
	StoryType       string    // storyType: "IMAGE" or "VIDEO"; default by the suffix of mediaUrl
	ShareToFeed     *bool     // shareToFeed: whether a reel also appears in the feed
	ThumbOffset     *int      // thumbOffset: milliseconds into a reel; coverUrl wins over it
	AudioName       string    // audioName: name of a reel's own audio
	Collaborators   []string  // collaborators: at most 3 usernames
	UserTags        []userTag // userTags
	TrialGraduation string    // trialGraduation: makes a trial reel; "MANUAL" or "SS_PERFORMANCE"
	AIGenerated     *bool     // isAiGenerated: label the post as made with AI
}

// userTag names a person in a post; x and y place the tag on an image, each
// from 0 to 1, and stay out for a reel.
type userTag struct {
	Username string   `json:"username"`
	X        *float64 `json:"x,omitempty"`
	Y        *float64 `json:"y,omitempty"`
}

// option is one member: which posts may have it and how it is read. read says
// what is wrong, or "".
type option struct {
	types []connectors.MediaType
	read  func(raw json.RawMessage, o *options) string
}

const (
	storyImage = "IMAGE"
	storyVideo = "VIDEO"
)

func optionSchema() map[string]option {
	const image, video, carousel, story = connectors.Image, connectors.Video, connectors.Carousel, connectors.Story
	types := func(t ...connectors.MediaType) []connectors.MediaType { return t }
	return map[string]option{
		"storyType":     {types(story), func(r json.RawMessage, o *options) string { return oneOf(r, &o.StoryType, storyImage, storyVideo) }},
		"shareToFeed":   {types(video, carousel), func(r json.RawMessage, o *options) string { return value(r, &o.ShareToFeed, "a boolean") }},
		"thumbOffset":   {types(video), func(r json.RawMessage, o *options) string { return offset(r, &o.ThumbOffset) }},
		"audioName":     {types(video), func(r json.RawMessage, o *options) string { return value(r, &o.AudioName, "a string") }},
		"collaborators": {types(image, video, carousel), func(r json.RawMessage, o *options) string { return usernames(r, &o.Collaborators) }},
		"userTags":      {types(image, video, story), readTags},
		"trialGraduation": {types(video), func(r json.RawMessage, o *options) string {
			return oneOf(r, &o.TrialGraduation, "MANUAL", "SS_PERFORMANCE")
		}},
		"isAiGenerated": {types(image, video, carousel), func(r json.RawMessage, o *options) string { return value(r, &o.AIGenerated, "a boolean") }},
	}
}

// parseOptions reads a post's options and says everything that is wrong.
func (c *Connector) parseOptions(p connectors.Post) (options, []connectors.Violation) {
	var o options
	if len(p.Options) == 0 {
		return o, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(p.Options, &members); err != nil || members == nil {
		return o, violations(violation("/options", "type", "must be an object"))
	}
	var found []connectors.Violation
	for name, raw := range members {
		field := "/options/" + escapePointer(name)
		opt, known := c.options[name]
		switch {
		case !known:
			found = append(found, violation(field, "unknown", "is not an option of Instagram"))
		case !slices.Contains(opt.types, p.MediaType):
			found = append(found, violation(field, "unsupported", fmt.Sprintf("does not go with %s", p.MediaType)))
		default:
			if wrong := opt.read(raw, &o); wrong != "" {
				found = append(found, violation(field, "format", wrong))
			}
		}
	}
	slices.SortFunc(found, func(a, b connectors.Violation) int { return strings.Compare(a.Field, b.Field) })
	return o, found
}

// value reads one JSON value strictly; null is none.
func value[T any](raw json.RawMessage, to *T, what string) string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if string(raw) == "null" || dec.Decode(to) != nil {
		return "must be " + what
	}
	return ""
}

func oneOf(raw json.RawMessage, to *string, allowed ...string) string {
	var s string
	if value(raw, &s, "") != "" || !slices.Contains(allowed, s) {
		return "must be one of " + strings.Join(allowed, ", ")
	}
	*to = s
	return ""
}

func offset(raw json.RawMessage, to **int) string {
	if value(raw, to, "") != "" || **to < 0 {
		return "must be a whole number of milliseconds, 0 or more"
	}
	return ""
}

func usernames(raw json.RawMessage, to *[]string) string {
	if value(raw, to, "") != "" || len(*to) > 3 || slices.Contains(*to, "") {
		return "must be a list of at most 3 usernames"
	}
	return ""
}

func readTags(raw json.RawMessage, o *options) string {
	wrong := value(raw, &o.UserTags, "")
	for _, tag := range o.UserTags {
		if tag.Username == "" || outside(tag.X) || outside(tag.Y) || (tag.X == nil) != (tag.Y == nil) {
			wrong = "x"
		}
	}
	if wrong != "" {
		return "must be a list of {username, x, y} with x and y from 0 to 1, both or neither"
	}
	return ""
}

func outside(f *float64) bool { return f != nil && (*f < 0 || *f > 1) }

// storyKind tells whether a story is an image or a video: by the option, else
// by the suffix of its URL, else "".
func storyKind(p connectors.Post, option string) string {
	if option != "" {
		return option
	}
	u, err := url.Parse(p.MediaURL)
	if err != nil {
		return ""
	}
	switch strings.ToLower(path.Ext(u.Path)) {
	case ".jpg", ".jpeg":
		return storyImage
	case ".mp4", ".mov":
		return storyVideo
	}
	return ""
}
