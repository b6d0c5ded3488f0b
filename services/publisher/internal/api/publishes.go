package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/tenant"
)

// Publishes is what the API works on.
type Publishes interface {
	// Accept stores the request as the consumer does, appends its
	// publish.requested in the same transaction, and counts it against the
	// caller's budget in the same write. It returns when all of it is committed.
	// An account that the request does not reach (Request.Reaches) is answered
	// like one that does not exist.
	Accept(ctx context.Context, r Request) (Receipt, error)
	// Get reads a publish and its attempts. ErrNotFound.
	Get(ctx context.Context, id uuid.UUID) (Publish, error)
	// List reads publishes without their attempts, the newest first.
	List(ctx context.Context, f Filter) ([]Publish, error)
	// Cancel stops a publish that is not armed; one that is canceled stays so.
	// ErrNotFound, or ErrTooLate beside the publish as it is.
	Cancel(ctx context.Context, id uuid.UUID, by tenant.Caller) (Publish, error)
	// Reschedule changes when a publish that is not armed is due. ErrNotFound,
	// ErrTooLate beside the publish as it is, or an *httpapi.Error about the time.
	Reschedule(ctx context.Context, id uuid.UUID, due time.Time) (Publish, error)
	// Resolve ends a publish that is unconfirmed. ErrNotFound, ErrTooLate beside
	// the publish as it is, or a *TakenError.
	Resolve(ctx context.Context, id uuid.UUID, v Verdict, by tenant.Caller) (Publish, error)
}

// Errors of Publishes.
var (
	ErrNotFound = errors.New("publish not found")
	ErrTooLate  = errors.New("the publish is past that")
)

// TakenError says that the remote post is that of another publish.
type TakenError struct{ Owner Publish }

func (e *TakenError) Error() string { return "another publish owns this post" }

// Filter picks publishes of one user. Zero values pick all.
type Filter struct {
	UserID    uuid.UUID
	State     string
	Provider  string
	AccountID uuid.UUID
	From, To  time.Time // of acceptance; To is not in it
	After     time.Time // go on after this acceptance and id
	AfterID   uuid.UUID
	Limit     int
}

// Verdict is how a person ends a publish that is unconfirmed.
type Verdict struct {
	Published bool
	PostID    string
	Permalink string
	Reason    string
}

// Users finds users by the upstream's own ids; *tenant.Keys does. tenant.ErrNoUser.
type Users interface {
	User(ctx context.Context, externalID string) (tenant.User, error)
}

// Request is a valid request for a publish.
type Request struct {
	Caller   tenant.Caller
	Source   string // CloudEvents source: Source(Caller.UserID)
	ID       string // CloudEvents id: the caller's Idempotency-Key, or a new UUID
	Provider string
	Data     []byte      // data of publish.requested; names the provider, and the user where it names no account
	SHA256   [32]byte    // of Data
	Event    event.Event // publish.requested with Data, to be appended as it is
}

// PublishID is the id that the publish has or will have.
func (r Request) PublishID() uuid.UUID { return events.PublishID(r.Source, r.ID) }

// Reaches says whether the caller may publish with an account of this user.
func (r Request) Reaches(owner uuid.UUID) bool {
	return r.Caller.UserID == owner || r.Caller.May(tenant.ScopeOnBehalf)
}

// Source is the CloudEvents source of what a user asks for over HTTP.
func Source(userID uuid.UUID) string { return "/postbus/api/" + userID.String() }

// Receipt is what accepting a request came to.
type Receipt struct {
	Budget  limit.Decision // where it is not Allowed, nothing was stored
	Known   bool           // there was a publish with this source and id before
	Same    bool           // with Known: it has the same data
	Publish Publish        // as it was stored; not needed with Known
}

// The states of a publish that the API tells apart.
const (
	stateCompleted   = "completed"
	stateFailed      = "failed"
	stateCanceled    = "canceled"
	stateUnconfirmed = "unconfirmed"
	stateTombstone   = "tombstone"
)

// Publish is a publish as the API sees it. Zero values mean that there is none.
type Publish struct {
	ID        uuid.UUID
	Source    string    // of the request
	RequestID string    // its CloudEvents id
	UserID    uuid.UUID // owner of the account
	AccountID uuid.UUID
	Provider  string
	MediaType string

	Version     int64  // rises with every change
	State       string // accepted, ready, armed, unknown, confirming, unconfirmed, completed, failed, canceled, tombstone
	Attempt     int    // commits armed so far
	DelayReason string // why it waits, as publish.delayed told
	AcceptedAt  time.Time
	DueAt       time.Time
	NextAt      time.Time
	ExpiresAt   time.Time
	ArmedAt     time.Time
	EndedAt     time.Time
	TraceID     string

	Result   *Result  // with completed
	Problem  *Problem // with failed and unconfirmed
	Attempts []Attempt
}

// Result is the post as the provider tells it.
type Result struct {
	PostID    string // "" where the provider never tells it
	Permalink string // likewise
	Timestamp time.Time
	Caption   string
	Metadata  json.RawMessage // an object or nothing
}

// Problem is why a publish failed, or what is known of an unconfirmed one.
type Problem struct {
	Code              string // one of the codes of httpapi
	Message           string
	Retryable         *bool // nil: by the code
	ProviderCode      string
	ProviderRequestID string
	Violations        []events.Violation
}

// Attempt is one entry of the attempt log.
type Attempt struct {
	Attempt           int
	Step              string
	Call              string
	Outcome           string
	ProviderRequestID string
	ProviderCode      string
	HTTPStatus        int
	Message           string
	Duration          time.Duration
	At                time.Time
}

// settled says whether waiting for p has come to its end.
func (p Publish) settled() bool {
	switch p.State {
	case stateCompleted, stateFailed, stateCanceled, stateUnconfirmed, stateTombstone:
		return true
	default:
		return false
	}
}

// ended says whether nothing follows.
func (p Publish) ended() bool { return p.settled() && p.State != stateUnconfirmed }

// reached says whether the caller may know of p: whoever asked for it, and the
// user whose account it is for, which is the caller or whom the caller names. A
// tombstone is nobody's.
func (p Publish) reached(c tenant.Caller, user uuid.UUID) bool {
	if user == uuid.Nil || p.State == stateTombstone {
		return false
	}
	return p.UserID == user || p.Source == Source(c.UserID)
}
