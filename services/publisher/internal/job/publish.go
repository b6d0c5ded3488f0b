// Package job keeps publishes: what they are, where they stand, who may move
// them. All SQL on publishes, publish_attempts and account_lanes is here.
//
// # One way to move a publish
//
// A Transition names the row as it shall be and the version at which it was
// read. Write moves it if the row still has that version, and appends the
// attempt log and the events in the same transaction; of two that read the same
// version one moves and the other learns that it did not. A transition that
// starts something also carries the fence of the account's lane and moves only
// while that lane is held under it. The answer to a commit carries no fence: it
// is a proof, whoever brings it.
//
// # Groups
//
// Transitions that wait at the same moment are written together: one statement
// locks their lanes by account, one locks their publishes by id, one moves them
// all. Locks come first and in one order everywhere, so that groups of several
// processes never deadlock, and what the moving statement reads cannot change
// under it: in READ COMMITTED each statement sees what was committed before it
// began, and it begins when it holds the locks.
package job

import (
	"encoding/json"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
)

// State is where a publish stands.
type State string

// The states. Completed, Failed and Canceled are ends; Unconfirmed is an honest
// answer that may still turn into one of the first two; a Tombstone is a cancel
// that came before its request.
const (
	Accepted    State = "accepted"    // stored; Prepare has work to do
	Ready       State = "ready"       // prepared; waits for its time or its turn
	Armed       State = "armed"       // the commit call may be on its way
	Unknown     State = "unknown"     // the commit call's answer is not known
	Confirming  State = "confirming"  // the provider took it, publication is not final
	Unconfirmed State = "unconfirmed" // no read-back could tell
	Completed   State = "completed"
	Failed      State = "failed"
	Canceled    State = "canceled"
	Tombstone   State = "tombstone"
)

// Ended says whether nothing follows the state.
func (s State) Ended() bool {
	return s == Completed || s == Failed || s == Canceled || s == Tombstone
}

// Open says whether the publish has not been armed, so that it can be canceled
// or expire.
func (s State) Open() bool { return s == Accepted || s == Ready }

// Pending says whether the outcome of a commit is still looked for.
func (s State) Pending() bool { return s == Armed || s == Unknown || s == Unconfirmed }

// Publish is one row. Times are by the database clock; zero means null.
type Publish struct {
	ID          uuid.UUID
	EventSource string
	EventID     string
	AccountID   uuid.UUID // uuid.Nil: the request named no account that we know
	UserID      uuid.UUID
	Provider    string
	MediaType   string
	Request     []byte // data of publish.requested, byte for byte
	RequestSum  []byte // its SHA-256
	ContentSum  []byte // SHA-256 of what a reader of the post could compare

	State         State
	Checkpoint    []byte
	DueAt         time.Time
	NextAt        time.Time
	ExpiresAt     time.Time
	FreshUntil    time.Time
	Attempt       int
	Failures      int
	Looks         int
	ArmedAt       time.Time
	SendBy        time.Time
	QuietAt       time.Time
	UnconfirmedAt time.Time
	Scheduled     bool
	DelayReason   string
	RemoteID      string
	Result        json.RawMessage
	Error         json.RawMessage
	TraceParent   string
	TraceState    string
	StepAt        time.Time
	Version       int64
	AcceptedAt    time.Time
	EndedAt       time.Time
	BlankedAt     time.Time // its content was deleted with its account, and does not come back
}

// Step is one row of the attempt log.
type Step struct {
	Attempt    int           `json:"attempt"`
	Step       string        `json:"step"`    // prepare, commit, confirm, find, watch, late_answer, resolve
	Call       string        `json:"call"`    // the connector's name of the provider call
	Outcome    string        `json:"outcome"` // what followed: continue, wait, ready, accepted, done, published, absent, unclear, ended, or an error kind
	RequestID  string        `json:"providerRequestId"`
	Code       string        `json:"providerCode"`
	HTTPStatus int           `json:"httpStatus"`
	Message    string        `json:"message"`
	Duration   time.Duration `json:"-"`
	At         time.Time     `json:"at"` // set by the database
}

// LaneMove is what a transition does to its account's lane.
type LaneMove int

// The lane moves.
const (
	Keep LaneMove = iota
	Arm           // the lane's one armed publish becomes this one; it must have none
	Free          // the lane's armed publish is not this one any more
	Hold          // the lane's armed publish is this one again: its last commit turned out to be open
	Tell          // whoever holds the lane, or takes it next, looks at NextAt at the latest
)

// Transition moves one publish.
type Transition struct {
	Publish Publish // as it shall be; Version, and Armed, SendBy, QuietAt, StepAt, EndedAt are the store's to set
	Fence   int64   // of the lane that is held; 0 for an answer and for a person's decision
	Lane    LaneMove
	// Release, if not 0, is the fence under which the lane is given back: nothing
	// of this account is left in this process. A lane that somebody else holds by
	// now stays his.
	Release int64

	NextIn  time.Duration // with HasNext: Publish.NextAt = now + NextIn by the database clock
	HasNext bool          // NextIn counts
	FreshIn time.Duration // > 0: Publish.FreshUntil = now + FreshIn; 0 keeps Publish.FreshUntil
	SendIn  time.Duration // with Arm: send_by = now + SendIn
	Settle  time.Duration // with Arm: quiet_at = send_by + Settle

	// Heard, for one that waits for news of its account, is the newest version of the
	// account that was known when it found that it has to. Where the lane was told of
	// a newer one meanwhile, it looks at once. 0: it waits for no news.
	Heard int64

	Gates  GateKeys // with Arm: a closed gate of these refuses it
	Steps  []Step
	Events []event.Event

	rows eventRows // Events as outbox rows
}

// GateKeys are the keys under which a gate could stop a publish.
type GateKeys struct {
	Provider string
	Client   string
	Account  string
}
