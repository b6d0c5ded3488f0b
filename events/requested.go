package events

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds of a request, in bytes of UTF-8 unless said otherwise. They keep
// rows and events small; what a provider allows is its connector's to check.
const (
	MaxCaption  = 100_000
	MaxTitle    = 10_000
	MaxAltText  = 10_000
	MaxURL      = 8 << 10
	MaxName     = 255 // locationId, userId
	MaxOptions  = 16 << 10
	MaxChildren = 100 // items
)

// The media types of a request.
const (
	MediaImage    = "IMAGE"
	MediaVideo    = "VIDEO"
	MediaCarousel = "CAROUSEL"
	MediaStory    = "STORY"
	MediaText     = "TEXT"
	MediaLink     = "LINK"
)

// PublishRequested asks for one post. It is the data of publish.requested and
// the body of POST /api/{provider}/publish. Which fields a media type needs is
// for the connector of the provider to say. The target is AccountID, or Provider
// and UserID.
type PublishRequested struct {
	MediaType  string  `json:"mediaType"`
	MediaURL   string  `json:"mediaUrl,omitempty"`
	Caption    string  `json:"caption,omitempty"`
	Title      string  `json:"title,omitempty"`
	AltText    string  `json:"altText,omitempty"`
	CoverURL   string  `json:"coverUrl,omitempty"`
	LocationID string  `json:"locationId,omitempty"`
	Children   []Child `json:"children,omitempty"`
	LinkURL    string  `json:"linkUrl,omitempty"`

	AccountID string `json:"accountId,omitempty"` // ours, a UUID
	Provider  string `json:"provider,omitempty"`  // such as "instagram"
	UserID    string `json:"userId,omitempty"`    // upstream's own id of the user

	PublishAt string `json:"publishAt,omitempty"` // RFC 3339 with an offset, as it was written; "" is now
	ExpiresAt string `json:"expiresAt,omitempty"` // the same; not armed by then, the publish fails

	Options json.RawMessage `json:"options,omitempty"` // an object whose schema is the connector's
}

// Child is one item of a carousel.
type Child struct {
	MediaType string `json:"mediaType"` // IMAGE or VIDEO
	MediaURL  string `json:"mediaUrl"`
	AltText   string `json:"altText,omitempty"`
}

// EventType is publish.requested.
func (PublishRequested) EventType() string { return TypePublishRequested }

// SchemaVersion is the version of the schema of this data.
func (PublishRequested) SchemaVersion() string { return Version1 }

func (p *PublishRequested) fields() []field {
	return []field{
		{"mediaType", &p.MediaType, requiredNonEmpty},
		{"mediaUrl", &p.MediaURL, nonEmpty},
		{"caption", &p.Caption, optional},
		{"title", &p.Title, optional},
		{"altText", &p.AltText, optional},
		{"coverUrl", &p.CoverURL, nonEmpty},
		{"locationId", &p.LocationID, nonEmpty},
		{"children", (*children)(&p.Children), optional},
		{"linkUrl", &p.LinkURL, nonEmpty},
		{"accountId", &p.AccountID, nonEmpty},
		{"provider", &p.Provider, nonEmpty},
		{"userId", &p.UserID, nonEmpty},
		{"publishAt", &p.PublishAt, nonEmpty},
		{"expiresAt", &p.ExpiresAt, nonEmpty},
		{"options", &p.Options, optional},
	}
}

type children []Child

func (c *children) decode(path string, raw []byte, f *faults) {
	if raw[0] != '[' {
		f.add(path, "type", "must be an array, not %s", kind(raw))
		return
	}
	for i, v := range elements(raw) {
		if i == MaxChildren {
			f.add(path, "maxItems", "has more than %d items", MaxChildren)
			return
		}
		var child Child
		decodeObject(path+"/"+strconv.Itoa(i), v, &child, f)
		*c = append(*c, child)
	}
}

func (c *Child) fields() []field {
	return []field{
		{"mediaType", &c.MediaType, requiredNonEmpty},
		{"mediaUrl", &c.MediaURL, requiredNonEmpty},
		{"altText", &c.AltText, optional},
	}
}

// ParsePublishRequested reads and validates the data of a publish.requested
// event. Its error is a *ValidationError that names every fault at once. The
// value beside an error holds what could be read and has no fault of its own, so
// that a refused request can still be told by its provider or account.
func ParsePublishRequested(data []byte) (PublishRequested, error) {
	p, f := readPublishRequested(data)
	f.merge(p.check())
	clearFaulty(&p, f)
	return p, f.err(TypePublishRequested)
}

// ReadPublishRequested is the first half of ParsePublishRequested: it refuses
// what is not of the shape (unknown and repeated fields, wrong types, texts that
// cannot be stored) and leaves the rest to Validate. A caller who knows the
// target from elsewhere fills it in between.
func ReadPublishRequested(data []byte) (PublishRequested, error) {
	p, f := readPublishRequested(data)
	return p, f.err(TypePublishRequested)
}

func readPublishRequested(data []byte) (p PublishRequested, f faults) {
	f = decodeData(data, &p, false)
	return p, f
}

// clearFaulty empties the fields of p that have a fault.
func clearFaulty(p *PublishRequested, f faults) {
	if len(f.list) == 0 {
		return
	}
	for _, fd := range p.fields() {
		if !f.within("/" + fd.name) {
			continue
		}
		switch into := fd.into.(type) {
		case *string:
			*into = ""
		case *children:
			*into = nil
		case *json.RawMessage:
			*into = nil
		}
	}
}

// Validate reports everything that no connector could make right: unknown media
// types, URLs that are not absolute, a missing target, naive times, lengths.
func (p PublishRequested) Validate() error {
	f := p.check()
	return f.err(TypePublishRequested)
}

// PublishTime is PublishAt, or the zero time when it is absent.
func (p PublishRequested) PublishTime() (time.Time, error) { return optionalInstant(p.PublishAt) }

// ExpiryTime is ExpiresAt, or the zero time when it is absent.
func (p PublishRequested) ExpiryTime() (time.Time, error) { return optionalInstant(p.ExpiresAt) }

func optionalInstant(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return parseInstant(s)
}

func (p PublishRequested) check() (f faults) {
	checkMediaType(&f, "/mediaType", p.MediaType, MediaImage, MediaVideo, MediaCarousel, MediaStory, MediaText, MediaLink)
	checkURL(&f, "/mediaUrl", p.MediaURL)
	checkURL(&f, "/coverUrl", p.CoverURL)
	checkURL(&f, "/linkUrl", p.LinkURL)
	checkLength(&f, "/caption", p.Caption, MaxCaption)
	checkLength(&f, "/title", p.Title, MaxTitle)
	checkLength(&f, "/altText", p.AltText, MaxAltText)
	checkLength(&f, "/locationId", p.LocationID, MaxName)
	p.checkChildren(&f)
	p.checkTarget(&f)
	p.checkTimes(&f)
	checkFree(&f, "/options", p.Options)
	if len(p.Options) > MaxOptions {
		f.add("/options", "maxLength", "is longer than %d bytes", MaxOptions)
	}
	return f
}

func (p PublishRequested) checkChildren(f *faults) {
	if len(p.Children) > MaxChildren {
		f.add("/children", "maxItems", "has more than %d items", MaxChildren)
		return
	}
	for i, c := range p.Children {
		path := "/children/" + strconv.Itoa(i)
		checkMediaType(f, path+"/mediaType", c.MediaType, MediaImage, MediaVideo)
		checkWord(f, path+"/mediaUrl", c.MediaURL, true)
		checkURL(f, path+"/mediaUrl", c.MediaURL)
		checkLength(f, path+"/altText", c.AltText, MaxAltText)
	}
}

func (p PublishRequested) checkTarget(f *faults) {
	checkUUID(f, "/accountId", p.AccountID, false)
	checkLength(f, "/userId", p.UserID, MaxName)
	if p.Provider != "" && !isProvider(p.Provider) {
		f.add("/provider", "pattern", "must be a provider's name: at most 64 lower-case letters, digits, - and _, a letter first")
	}
	switch {
	case p.AccountID != "":
	case p.Provider == "" && p.UserID == "":
		f.add("/accountId", "required", "is missing: name accountId, or provider and userId")
	case p.UserID == "":
		f.add("/userId", "required", "is missing: provider alone names no account")
	case p.Provider == "":
		f.add("/provider", "required", "is missing: userId alone names no account")
	}
}

func isProvider(s string) bool {
	return len(s) <= 64 && strings.Contains(lowerLetters, s[:1]) && strings.Trim(s, lowerLetters+"0123456789-_") == ""
}

func (p PublishRequested) checkTimes(f *faults) {
	at, atErr := p.PublishTime()
	if atErr != nil {
		f.add("/publishAt", "format", "%s", atErr)
	}
	expiry, expiryErr := p.ExpiryTime()
	if expiryErr != nil {
		f.add("/expiresAt", "format", "%s", expiryErr)
	}
	if atErr == nil && expiryErr == nil && !at.IsZero() && !expiry.IsZero() && !expiry.After(at) {
		f.add("/expiresAt", "after", "must be after publishAt")
	}
}

func checkMediaType(f *faults, path, value string, known ...string) {
	if value == "" {
		f.add(path, "required", "is missing")
		return
	}
	for _, k := range known {
		if value == k {
			return
		}
	}
	f.add(path, "enum", "must be one of %s", strings.Join(known, ", "))
}

func checkLength(f *faults, path, value string, most int) {
	if len(value) > most {
		f.add(path, "maxLength", "is longer than %d bytes", most)
	}
}

// checkURL reports what is there and not an absolute http(s) URL. User names and
// passwords are refused because events and rows must hold no secret.
func checkURL(f *faults, path, value string) {
	if value == "" {
		return
	}
	checkLength(f, path, value, MaxURL)
	u, err := url.Parse(value)
	switch {
	case err != nil || strings.IndexFunc(value, isBlank) >= 0 || !utf8.ValidString(value):
		f.add(path, "format", "is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		f.add(path, "format", "must be an absolute http or https URL")
	case u.Hostname() == "":
		f.add(path, "format", "is a URL without a host")
	case u.User != nil:
		f.add(path, "format", "must not hold a user name or password")
	}
}

func isBlank(r rune) bool { return r <= ' ' || r >= 0x7F && r <= 0xA0 || r == 0x2028 || r == 0x2029 }
