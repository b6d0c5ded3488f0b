package instagram

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"postbus.dev/services/connectors"
)

// The limits of a post. Meta does not say what a character of a caption is; a
// Unicode code point is the reading that refuses no caption Instagram takes.
const (
	maxCaption  = 2200
	maxHashtags = 30
	maxMentions = 20
	maxAltText  = 1000
	minChildren = 2
	maxChildren = 10
)

// Validate reports everything that Instagram would refuse in p or could not
// show: a field that the kind of post has no place for is an error, because
// dropping what somebody wrote would not be what they asked for.
func (c *Connector) Validate(p connectors.Post) []connectors.Violation {
	var found []connectors.Violation
	switch p.MediaType {
	case connectors.Image, connectors.Video, connectors.Story:
		found = append(found, checkURL("/mediaUrl", p.MediaURL, true)...)
	case connectors.Carousel:
		found = append(found, checkChildren(p.Children)...)
	default:
		return violations(violation("/mediaType", "unsupported", "Instagram publishes IMAGE, VIDEO, CAROUSEL and STORY"))
	}
	o, wrong := c.parseOptions(p)
	found = append(found, checkFields(p)...)
	found = append(found, c.checkCaption(p.Caption)...)
	found = append(found, checkAltText("/altText", p.AltText)...)
	found = append(found, checkURL("/coverUrl", p.CoverURL, false)...)
	found = append(found, wrong...)
	if p.MediaType == connectors.Story && p.MediaURL != "" && len(wrong) == 0 && storyKind(p, o.StoryType) == "" {
		found = append(found, violation("/options/storyType", "required", "must be IMAGE or VIDEO where mediaUrl does not end in .jpg, .jpeg, .mp4 or .mov"))
	}
	return found
}

// checkFields reports fields that the kind of post cannot carry.
func checkFields(p connectors.Post) []connectors.Violation {
	is := func(types ...connectors.MediaType) bool {
		for _, t := range types {
			if p.MediaType == t {
				return true
			}
		}
		return false
	}
	var found []connectors.Violation
	for _, f := range []struct {
		field   string
		set     bool
		carried bool
	}{
		{"/mediaUrl", p.MediaURL != "", !is(connectors.Carousel)},
		{"/children", len(p.Children) > 0, is(connectors.Carousel)},
		{"/caption", p.Caption != "", !is(connectors.Story)},
		{"/title", p.Title != "", false},
		{"/linkUrl", p.LinkURL != "", false},
		{"/altText", p.AltText != "", is(connectors.Image)},
		{"/coverUrl", p.CoverURL != "", is(connectors.Video)},
		{"/locationId", p.LocationID != "", !is(connectors.Story)},
	} {
		if f.set && !f.carried {
			found = append(found, violation(f.field, "unsupported", fmt.Sprintf("Instagram has no place for it in a %s", p.MediaType)))
		}
	}
	if p.LocationID != "" && strings.Trim(p.LocationID, "0123456789") != "" {
		found = append(found, violation("/locationId", "format", "must be the number of a page with a location"))
	}
	return found
}

func checkChildren(children []connectors.Child) []connectors.Violation {
	var found []connectors.Violation
	if n := len(children); n < minChildren {
		found = append(found, violation("/children", "minItems", fmt.Sprintf("has %d items, at least %d are needed", n, minChildren)))
	} else if n > maxChildren {
		found = append(found, violation("/children", "maxItems", fmt.Sprintf("has %d items, at most %d are possible", n, maxChildren)))
	}
	for i, child := range children {
		at := fmt.Sprintf("/children/%d", i)
		if child.MediaType != connectors.Image && child.MediaType != connectors.Video {
			found = append(found, violation(at+"/mediaType", "unsupported", "must be IMAGE or VIDEO"))
		}
		found = append(found, checkURL(at+"/mediaUrl", child.MediaURL, true)...)
		found = append(found, checkAltText(at+"/altText", child.AltText)...)
		if child.AltText != "" && child.MediaType == connectors.Video {
			found = append(found, violation(at+"/altText", "unsupported", "Instagram has no place for it in a VIDEO"))
		}
	}
	return found
}

func (c *Connector) checkCaption(caption string) []connectors.Violation {
	var found []connectors.Violation
	for _, limit := range []struct {
		rule, what string
		n, max     int
	}{
		{"maxLength", "characters", utf8.RuneCountInString(caption), maxCaption},
		{"maxHashtags", "hashtags", countMarks(caption, c.marks.hashtags), maxHashtags},
		{"maxMentions", "mentions", countMarks(caption, c.marks.mentions), maxMentions},
	} {
		if limit.n > limit.max {
			found = append(found, violation("/caption", limit.rule, fmt.Sprintf("has %d %s, at most %d are possible", limit.n, limit.what, limit.max)))
		}
	}
	return found
}

// marks are what is counted in captions. They are kept: making one takes a
// hundred times as long as using it.
type marks struct{ hashtags, mentions *regexp.Regexp }

func newMarks() marks {
	return marks{
		hashtags: regexp.MustCompile(`#[\p{L}\p{M}\p{N}_]`),
		mentions: regexp.MustCompile(`(?:^|[^\p{L}\p{N}._])@[A-Za-z0-9_.]`),
	}
}

func countMarks(s string, pattern *regexp.Regexp) int {
	if !strings.ContainsAny(s, "#@") {
		return 0
	}
	return len(pattern.FindAllStringIndex(s, -1))
}

func checkAltText(field, text string) []connectors.Violation {
	if n := utf8.RuneCountInString(text); n > maxAltText {
		return violations(violation(field, "maxLength", fmt.Sprintf("has %d characters, at most %d are possible", n, maxAltText)))
	}
	return nil
}

// checkURL: Instagram's servers fetch media by themselves.
func checkURL(field, raw string, required bool) []connectors.Violation {
	if raw == "" {
		if required {
			return violations(violation(field, "required", "is missing"))
		}
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return violations(violation(field, "format", "must be an absolute http or https URL"))
	}
	if u.User != nil {
		return violations(violation(field, "format", "must be public: Instagram fetches it without credentials"))
	}
	return nil
}

func violation(field, rule, message string) connectors.Violation {
	return connectors.Violation{Field: field, Rule: rule, Message: message}
}

func violations(v ...connectors.Violation) []connectors.Violation { return v }

func escapePointer(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }
