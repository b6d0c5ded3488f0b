// Package connectors is the contract between Postbus and a provider: what a
// connector is asked to do, what it may answer, and the HTTP client it does it
// with. It knows no database, no bus and no event, so that a connector cannot
// touch them.
//
// One provider is one folder beside this file. A connector states what it can
// do by the interfaces that it implements (Publisher, Validator, ...); what a
// provider cannot do is a missing interface. connectortest is the suite that
// every connector passes.
//
// # Who decides what
//
// A connector speaks one provider's language and classifies what it hears. It
// never sleeps, never retries and keeps nothing in memory between calls: the
// runner stores the Checkpoint after each step, decides when the next step
// runs, and may run it in another process after a crash. Times that a connector
// states are durations from now.
package connectors

import (
	"context"
	"encoding/json"
	"time"
)

// MediaType is the kind of post that a request asks for.
type MediaType string

// The media types of a publish request.
const (
	Image    MediaType = "IMAGE"
	Video    MediaType = "VIDEO"
	Carousel MediaType = "CAROUSEL"
	Story    MediaType = "STORY"
	Text     MediaType = "TEXT"
	Link     MediaType = "LINK"
)

// Account is the connected OAuth account that a post is published with.
type Account struct {
	ID                string // ours, a UUID
	UserID            string // ours, a UUID: the tenant that owns the account
	Provider          string
	ProviderAccountID string // the provider's stable id, used in its paths
	Username          string
	AccessToken       Secret
	TokenType         string
	Scope             string
	ExpiresAt         time.Time // of the access token; zero when it does not expire
	TokenVersion      int64     // raised by each refresh
	Metadata          json.RawMessage
}

// Post is what shall be published, as the request says it.
type Post struct {
	PublishID  string // ours; the same on every attempt
	MediaType  MediaType
	MediaURL   string
	Caption    string
	Title      string
	AltText    string
	CoverURL   string
	LocationID string
	LinkURL    string
	Children   []Child
	Options    json.RawMessage // the connector's own object; nil when absent
}

// Child is one item of a carousel.
type Child struct {
	MediaType MediaType
	MediaURL  string
	AltText   string
}

// Checkpoint is how far the preparation of a post has come, in the connector's
// own JSON. It is nil at the start and is stored before the next call is made.
// It never holds a secret.
type Checkpoint []byte

// Connector is a provider's connector. What it can do shows by the other
// interfaces of this package that it implements; With selects by them.
type Connector interface {
	// Provider is the name that requests, rows and routes use, such as "instagram".
	Provider() string
}

// With are the connectors of all that have a capability, such as Publisher.
func With[Capability any](all map[string]Connector) map[string]Capability {
	able := map[string]Capability{}
	for name, c := range all {
		if can, ok := c.(Capability); ok {
			able[name] = can
		}
	}
	return able
}

// Publisher turns a post into provider calls, one step at a time.
type Publisher interface {
	Connector
	// Timing states how long things take at this provider for such a post.
	Timing(p Post) Timing

	// Prepare does the next repeatable thing; nothing is public yet. Run twice
	// from the same checkpoint it may waste a container, never post twice.
	Prepare(ctx context.Context, a Account, p Post, cp Checkpoint) (Step, error)
	// Commit makes the one irreversible call, through Client.Commit and only
	// through it, once. Every error that does not prove that the provider did
	// nothing has Kind Unknown.
	Commit(ctx context.Context, a Account, p Post, cp Checkpoint) (Step, error)
	// Confirm looks whether an accepted post is published, until the provider
	// says final.
	Confirm(ctx context.Context, a Account, p Post, cp Checkpoint) (Step, error)
	// Find looks for the outcome of a Commit whose answer is unknown. It
	// changes nothing at the provider.
	Find(ctx context.Context, a Account, p Post, at Attempt, cp Checkpoint) (Found, error)
}

// Validator reports everything that a provider would refuse in a post and that
// can be known without asking it. An empty result means valid.
type Validator interface {
	Validate(p Post) []Violation
}

// Violation is one thing wrong with a request.
type Violation struct {
	Field   string `json:"field"` // JSON pointer into the data, such as /children/3/mediaUrl
	Rule    string `json:"rule"`  // short and stable, such as maxLength
	Message string `json:"message"`
}

// Next says what the runner does after a step.
type Next int

// What follows a step.
const (
	// Continue: there is another step to run at once.
	Continue Next = iota
	// Wait: run the same phase again after Step.Wait.
	Wait
	// Ready (Prepare only): Commit may run at the due time; the preparation
	// stays good for Step.FreshFor.
	Ready
	// Accepted (Commit only): the provider took the post, but publication is not
	// final or its address not yet read; Confirm runs after Step.Wait. Step.Post
	// says that the post is live, and holds what is known of it: if Confirm cannot
	// tell more in time, that is all that is told. The handle of something that is
	// still to be published is no post; it belongs into the checkpoint.
	Accepted
	// Done (Commit and Confirm): the post is live, Step.Post tells where.
	Done
)

// Step is the answer of Prepare, Commit and Confirm.
type Step struct {
	Next       Next
	Checkpoint Checkpoint    // stored before anything else happens; nil keeps the last one
	Wait       time.Duration // with Wait and Accepted
	FreshFor   time.Duration // with Ready
	Post       *RemotePost   // with Done; with Accepted where it is live already (at least its ID)
	Call       Call          // the provider call behind the step, for the attempt log
	Note       string        // what was seen, for people: "container in progress"; no payload, no token
}

// Call names a provider call for the people who debug it.
type Call struct {
	Name      string // such as "media_publish"; the connector's own short name
	RequestID string // the provider's id of the request, where it tells one
	Status    int    // HTTP status; 0 when there was no answer
	Duration  time.Duration
}

// RemotePost is a post at the provider.
type RemotePost struct {
	ID        string          // "" where the provider never tells it
	URL       string          // permalink; "" where the provider never tells it
	Timestamp time.Time       // as the provider tells it; zero if it does not
	Caption   string          // as published
	Metadata  json.RawMessage // the connector's own facts, shown to callers; nil if none
}

// Attempt is the Commit whose outcome Find looks for.
type Attempt struct {
	Number  int
	ArmedAt time.Time // by the database clock, before any byte was sent
	QuietAt time.Time // after it the provider cannot act on the call any more
	Quiet   bool      // QuietAt has passed by the database clock: absence may be evidence
	// OwnedRemoteIDs are posts of this account that other publishes own.
	OwnedRemoteIDs []string
	// TwinUnconfirmed: another publish of this account with the same content is
	// unconfirmed, so a match by content alone proves nothing.
	TwinUnconfirmed bool
}

// Verdict is what Find could tell.
type Verdict int

// What Find could tell.
const (
	// Unclear: look again after Found.LookAgain.
	Unclear Verdict = iota
	// Published: Found.Post is the post of this attempt.
	Published
	// Absent is a proof that the attempt made no post and never will. The
	// runner takes it for a proof only when Attempt.Quiet was set.
	Absent
)

// Found is the answer of Find.
type Found struct {
	Verdict    Verdict
	Post       *RemotePost   // with Published; its ID may be ""
	LookAgain  time.Duration // with Unclear; 0 means by Timing.Look
	Checkpoint Checkpoint    // nil keeps the last one
	Evidence   string        // what was seen, for people: "container PUBLISHED, 2 posts match"
	Call       Call
}
