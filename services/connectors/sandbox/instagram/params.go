package instagram

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"postbus.dev/services/connectors/sandbox/consent"
)

// known lists the parameters that a call has.
func known(name string) []string {
	reads := []string{"access_token", "fields"}
	pages := append(reads, "limit", "after", "before", "since", "until")
	switch name {
	case CallCreate:
		return []string{
			"access_token", "media_type", "image_url", "video_url", "caption", "alt_text", "location_id", "user_tags",
			"collaborators", "is_ai_generated", "is_carousel_item", "children", "share_to_feed", "cover_url", "thumb_offset",
			"audio_name", "trial_params",
		}
	case CallPublish:
		return []string{"access_token", "creation_id"}
	case CallList, CallStories:
		return pages
	case CallLimit:
		return append(reads, "since")
	case CallAuthorize:
		return authorizeParams()
	case CallDecide:
		return append(authorizeParams(), consent.FormParams(offered())...)
	case CallCode:
		return []string{"client_id", "client_secret", "grant_type", "redirect_uri", "code"}
	case CallExchange:
		return []string{"grant_type", "client_secret", "access_token"}
	case CallRefresh:
		return []string{"grant_type", "access_token"}
	default:
		return reads
	}
}

// checkUnknown refuses parameters that the call does not have, in strict mode:
// the provider ignores them, and a connector that sends one has a mistake.
func (ig *Instagram) checkUnknown(c *call) *apiError {
	if names := c.params.unknown(c.name); ig.Now().Strict && len(names) > 0 {
		return errParam("unknown parameters: %s", strings.Join(names, ", "))
	}
	return nil
}

// kind is what a container becomes.
type kind struct {
	name      string // as errors name it
	mediaType string // of the ledger
	readType  string // media_type of the media
	product   string // media_product_type of the media
	video     bool
	child     bool
	allowed   []string // parameters beside access_token, media_type and is_carousel_item
}

// kindOf tells what the parameters ask for.
func kindOf(p params) (kind, *apiError) {
	child := p["is_carousel_item"] == "true"
	switch p["media_type"] {
	case "":
		if child {
			return kind{name: "carousel image", mediaType: "IMAGE", readType: "IMAGE", product: "FEED", child: true,
				allowed: []string{"image_url", "alt_text", "user_tags"}}, nil
		}
		return kind{name: "image", mediaType: "IMAGE", readType: "IMAGE", product: "FEED",
			allowed: []string{"image_url", "caption", "alt_text", "location_id", "user_tags", "collaborators", "is_ai_generated"}}, nil
	case "VIDEO":
		if !child {
			return kind{}, errParam("The VIDEO value for media_type is no longer supported. Use the REELS media_type to publish a video")
		}
		return kind{name: "carousel video", mediaType: "VIDEO", readType: "VIDEO", product: "FEED", video: true, child: true,
			allowed: []string{"video_url", "user_tags"}}, nil
	case "REELS":
		if child {
			return kind{}, errParam("Reels cannot be carousel items")
		}
		return kind{name: "reel", mediaType: "VIDEO", readType: "VIDEO", product: "REELS", video: true,
			allowed: []string{"video_url", "caption", "share_to_feed", "cover_url", "thumb_offset", "audio_name", "collaborators",
				"user_tags", "location_id", "trial_params", "is_ai_generated"}}, nil
	case "STORIES":
		return storyKind(p, child)
	case "CAROUSEL":
		return kind{name: "carousel", mediaType: "CAROUSEL", readType: "CAROUSEL_ALBUM", product: "FEED",
			allowed: []string{"children", "caption", "share_to_feed", "collaborators", "location_id", "is_ai_generated"}}, nil
	default:
		e := documented(100, 2207023)
		e.Message = "The media type " + strconv.Quote(p["media_type"]) + " is unknown."
		return kind{}, e
	}
}

func storyKind(p params, child bool) (kind, *apiError) {
	if child {
		return kind{}, errParam("Stories cannot be carousel items")
	}
	k := kind{name: "story", mediaType: "STORY", readType: "IMAGE", product: "STORY", allowed: []string{"image_url", "video_url", "user_tags"}}
	if p["video_url"] != "" {
		k.video, k.readType = true, "VIDEO"
	}
	return k, nil
}

// check holds the parameters of a container to the rules of its kind.
func (k kind) check(p params, strict bool) *apiError {
	if e := k.checkAllowed(p, strict); e != nil {
		return e
	}
	if e := k.checkMedia(p); e != nil {
		return e
	}
	if n := utf8.RuneCountInString(p["caption"]); n > 2200 {
		return documented(36004, 2207010)
	}
	if strings.Count(p["caption"], "#") > 30 || strings.Count(p["caption"], "@") > 20 {
		return documented(100, 2207040)
	}
	if utf8.RuneCountInString(p["alt_text"]) > 1000 {
		return errParam("alt_text is longer than 1000 characters")
	}
	return checkValues(p)
}

// checkAllowed refuses parameters of other kinds: is_ai_generated on a child
// always, as the provider does; what the provider ignores only in strict mode.
func (k kind) checkAllowed(p params, strict bool) *apiError {
	for name := range p {
		if slices.Contains([]string{"access_token", "media_type", "is_carousel_item"}, name) || slices.Contains(k.allowed, name) {
			continue
		}
		if strict || k.child && name == "is_ai_generated" {
			return errParam("%s is not a parameter of a %s", name, k.name)
		}
	}
	return nil
}

func (k kind) checkMedia(p params) *apiError {
	if k.mediaType == "CAROUSEL" {
		return nil // its children are looked up
	}
	want := "image_url"
	if k.video {
		want = "video_url"
	}
	if p[want] == "" {
		return errParam("The parameter %s is required", want)
	}
	if p["image_url"] != "" && p["video_url"] != "" {
		return errParam("image_url and video_url exclude each other")
	}
	for _, name := range []string{"image_url", "video_url", "cover_url"} {
		if p[name] != "" && !fetchable(p[name]) {
			return documented(9004, 2207052)
		}
	}
	return nil
}

// fetchable says whether a server could fetch the URL, as far as can be known
// without trying.
func fetchable(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// checkValues checks the form of the parameters that have one.
func checkValues(p params) *apiError {
	for _, name := range []string{"is_ai_generated", "share_to_feed", "is_carousel_item"} {
		if v, ok := p[name]; ok && v != "true" && v != "false" {
			return errParam("Param %s must be a boolean", name)
		}
	}
	if v, ok := p["location_id"]; ok {
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			return errParam("Param location_id must be a valid page id")
		}
	}
	if v, ok := p["thumb_offset"]; ok {
		if n, err := strconv.Atoi(v); err != nil || n < 0 {
			return documented(1, 2207057)
		}
	}
	if e := checkCollaborators(p); e != nil {
		return e
	}
	if e := checkTrial(p); e != nil {
		return e
	}
	return checkTags(p)
}

func checkCollaborators(p params) *apiError {
	v, ok := p["collaborators"]
	if !ok {
		return nil
	}
	var names []string
	if json.Unmarshal([]byte(v), &names) != nil {
		return errParam("Param collaborators must be an array")
	}
	if len(names) > 3 {
		return errParam("collaborators has more than 3 names")
	}
	return nil
}

func checkTrial(p params) *apiError {
	v, ok := p["trial_params"]
	if !ok {
		return nil
	}
	var trial struct {
		Strategy string `json:"graduation_strategy"`
	}
	if json.Unmarshal([]byte(v), &trial) != nil || trial.Strategy != "MANUAL" && trial.Strategy != "SS_PERFORMANCE" {
		return errParam("Param trial_params[graduation_strategy] must be one of {MANUAL, SS_PERFORMANCE}")
	}
	return nil
}

func checkTags(p params) *apiError {
	v, ok := p["user_tags"]
	if !ok {
		return nil
	}
	var tags []struct {
		Username string   `json:"username"`
		X        *float64 `json:"x"`
		Y        *float64 `json:"y"`
	}
	if json.Unmarshal([]byte(v), &tags) != nil {
		return errParam("Param user_tags must be an array")
	}
	for _, t := range tags {
		if t.Username == "" || outside(t.X) || outside(t.Y) {
			return errParam("Param user_tags must have usernames, and x and y within 0 and 1")
		}
	}
	return nil
}

func outside(v *float64) bool { return v != nil && (*v < 0 || *v > 1) }

// childIDs reads children: a JSON array of ids, or ids with commas.
func childIDs(raw string) []string {
	var ids []string
	if json.Unmarshal([]byte(raw), &ids) == nil {
		return ids
	}
	for id := range strings.SplitSeq(raw, ",") {
		if id = strings.TrimSpace(id); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}
