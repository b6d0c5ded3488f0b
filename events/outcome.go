package events

import (
	"encoding/json"
	"strconv"
	"time"
)

// PublishCompleted tells that the post is live.
type PublishCompleted struct {
	PublishRef
	UserID      string          `json:"userId,omitempty"` // upstream's own id of the user
	MediaType   string          `json:"mediaType"`
	PostID      *string         `json:"postId"`    // nil where the provider never tells it
	Permalink   *string         `json:"permalink"` // nil where the provider never tells it
	Caption     string          `json:"caption,omitempty"`
	PublishedAt time.Time       `json:"publishedAt,omitzero"` // by the provider's clock; zero if it does not tell
	Timings     Timings         `json:"timings"`
	Attempts    int             `json:"attempts"` // commits that were armed
	Metadata    json.RawMessage `json:"metadata,omitempty"`
}

// Timings is when a publish passed its stations, by the database clock.
type Timings struct {
	AcceptedAt  time.Time `json:"acceptedAt"`
	DueAt       time.Time `json:"dueAt"`
	ArmedAt     time.Time `json:"armedAt"`
	CompletedAt time.Time `json:"completedAt"`
}

// EventType is publish.completed.
func (PublishCompleted) EventType() string { return TypePublishCompleted }

// SchemaVersion is the version of the schema of this data.
func (PublishCompleted) SchemaVersion() string { return Version1 }

func (d *PublishCompleted) fields() []field {
	return append(d.PublishRef.fields(),
		field{"userId", &d.UserID, nonEmpty},
		field{"mediaType", &d.MediaType, requiredNonEmpty},
		field{"postId", &d.PostID, requiredNonEmpty},
		field{"permalink", &d.Permalink, requiredNonEmpty},
		field{"caption", &d.Caption, optional},
		field{"publishedAt", &d.PublishedAt, optional},
		field{"timings", &d.Timings, required},
		field{"attempts", &d.Attempts, required},
		field{"metadata", &d.Metadata, optional})
}

func (t *Timings) decode(path string, raw []byte, f *faults) {
	decodeObject(path, raw, t, f)
}

func (t *Timings) fields() []field {
	return []field{
		{"acceptedAt", &t.AcceptedAt, required},
		{"dueAt", &t.DueAt, required},
		{"armedAt", &t.ArmedAt, required},
		{"completedAt", &t.CompletedAt, required},
	}
}

// Validate reports what is missing.
func (d PublishCompleted) Validate() error {
	var f faults
	d.check(true, &f)
	checkMediaType(&f, "/mediaType", d.MediaType, MediaImage, MediaVideo, MediaCarousel, MediaStory, MediaText, MediaLink)
	checkTold(&f, "/postId", d.PostID)
	checkTold(&f, "/permalink", d.Permalink)
	checkInstant(&f, "/timings/acceptedAt", d.Timings.AcceptedAt)
	checkInstant(&f, "/timings/dueAt", d.Timings.DueAt)
	checkInstant(&f, "/timings/armedAt", d.Timings.ArmedAt)
	checkInstant(&f, "/timings/completedAt", d.Timings.CompletedAt)
	checkAtLeast(&f, "/attempts", int64(d.Attempts), 1)
	checkFree(&f, "/metadata", d.Metadata)
	return f.err(TypePublishCompleted)
}

// checkTold reports "" where nil says that the provider never tells.
func checkTold(f *faults, path string, value *string) {
	if value != nil && *value == "" {
		f.add(path, "minLength", "must not be empty: null says that the provider does not tell")
	}
}

// PublishFailed tells that the post is not live and will not be.
type PublishFailed struct {
	PublishRef
	Code              string      `json:"code"`    // one of the codes of the HTTP API, such as MEDIA_REJECTED
	Message           string      `json:"message"` // for people
	Retryable         bool        `json:"retryable"`
	ProviderCode      string      `json:"providerCode,omitempty"`
	ProviderRequestID string      `json:"providerRequestId,omitempty"`
	Violations        []Violation `json:"violations,omitempty"` // of an invalid request, all of them
	Attempt           int         `json:"attempt"`              // commits that were armed
}

// EventType is publish.failed.
func (PublishFailed) EventType() string { return TypePublishFailed }

// SchemaVersion is the version of the schema of this data.
func (PublishFailed) SchemaVersion() string { return Version1 }

func (d *PublishFailed) fields() []field {
	return append(d.PublishRef.fields(),
		field{"code", &d.Code, requiredNonEmpty},
		field{"message", &d.Message, required},
		field{"retryable", &d.Retryable, required},
		field{"providerCode", &d.ProviderCode, optional},
		field{"providerRequestId", &d.ProviderRequestID, optional},
		field{"violations", (*violationList)(&d.Violations), optional},
		field{"attempt", &d.Attempt, required})
}

type violationList []Violation

func (l *violationList) decode(path string, raw []byte, f *faults) {
	if raw[0] != '[' {
		f.add(path, "type", "must be an array, not %s", kind(raw))
		return
	}
	for i, v := range elements(raw) {
		var violation Violation
		decodeObject(path+"/"+strconv.Itoa(i), v, &violation, f)
		*l = append(*l, violation)
	}
}

func (v *Violation) fields() []field {
	return []field{
		{"field", &v.Field, required},
		{"rule", &v.Rule, requiredNonEmpty},
		{"message", &v.Message, required},
	}
}

// Validate reports what is missing.
func (d PublishFailed) Validate() error {
	var f faults
	d.check(false, &f)
	checkCode(&f, "/code", d.Code, upperLetters)
	for i, v := range d.Violations {
		checkWord(&f, "/violations/"+strconv.Itoa(i)+"/rule", v.Rule, true)
	}
	checkAtLeast(&f, "/attempt", int64(d.Attempt), 0)
	return f.err(TypePublishFailed)
}

// PublishCanceled tells that a publish was stopped before it was armed.
type PublishCanceled struct {
	PublishRef
	Reason string `json:"reason,omitempty"` // as the cancel gave it
}

// EventType is publish.canceled.
func (PublishCanceled) EventType() string { return TypePublishCanceled }

// SchemaVersion is the version of the schema of this data.
func (PublishCanceled) SchemaVersion() string { return Version1 }

func (d *PublishCanceled) fields() []field {
	return append(d.PublishRef.fields(), field{"reason", &d.Reason, optional})
}

// Validate reports what is missing.
func (d PublishCanceled) Validate() error {
	var f faults
	d.check(false, &f)
	return f.err(TypePublishCanceled)
}

// PublishUnconfirmed tells that the answer of the provider was lost and that
// reading back could not tell. At most one publish.completed or publish.failed
// follows.
type PublishUnconfirmed struct {
	PublishRef
	Attempt        int       `json:"attempt"`
	ArmedAt        time.Time `json:"armedAt"`
	QuietAt        time.Time `json:"quietAt"`                  // after it the provider cannot act on the call any more
	Evidence       string    `json:"evidence"`                 // what was seen, for people
	OtherPublishID string    `json:"otherPublishId,omitempty"` // the publish that already owns the remote post which was found
}

// EventType is publish.unconfirmed.
func (PublishUnconfirmed) EventType() string { return TypePublishUnconfirmed }

// SchemaVersion is the version of the schema of this data.
func (PublishUnconfirmed) SchemaVersion() string { return Version1 }

func (d *PublishUnconfirmed) fields() []field {
	return append(d.PublishRef.fields(),
		field{"attempt", &d.Attempt, required},
		field{"armedAt", &d.ArmedAt, required},
		field{"quietAt", &d.QuietAt, required},
		field{"evidence", &d.Evidence, required},
		field{"otherPublishId", &d.OtherPublishID, nonEmpty})
}

// Validate reports what is missing.
func (d PublishUnconfirmed) Validate() error {
	var f faults
	d.check(true, &f)
	checkAtLeast(&f, "/attempt", int64(d.Attempt), 1)
	checkInstant(&f, "/armedAt", d.ArmedAt)
	checkInstant(&f, "/quietAt", d.QuietAt)
	checkUUID(&f, "/otherPublishId", d.OtherPublishID, false)
	return f.err(TypePublishUnconfirmed)
}
