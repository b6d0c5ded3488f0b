package connectors

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the closed set of what an error asks the runner to do.
type Kind int

// The error kinds.
const (
	// KindUnknown: the call may have been carried out. Only Find can tell. It is
	// the zero value: an error nobody classified is treated so after Arm. With
	// Scope and Wait set, the scope has to rest besides: should Find prove the
	// post absent, it is not committed again before that.
	//
	// From Prepare it means that a Commit of what is prepared has taken effect
	// already although its attempt was settled otherwise: nothing may be
	// committed again, Find tells the outcome.
	KindUnknown Kind = iota
	// KindRetry: nothing happened; run the same step again after a backoff, or
	// after Error.Wait where the provider names one.
	KindRetry
	// KindWait: a limit or an outage: Error.Scope waits until Error.Wait has
	// passed (the runner closes a gate).
	KindWait
	// KindRefresh: the access token is dead, a refresh may help. The same step
	// continues afterwards.
	KindRefresh
	// KindReauthorize: a person must reconnect the account.
	KindReauthorize
	// KindReject: final; the provider will never take this post.
	KindReject
)

// String names the kind as it appears in logs and publish_attempts.
func (k Kind) String() string {
	switch k {
	case KindRetry:
		return "retry"
	case KindWait:
		return "wait_until"
	case KindRefresh:
		return "refresh"
	case KindReauthorize:
		return "reauthorize"
	case KindReject:
		return "reject"
	default:
		return "unknown"
	}
}

// Scope says whom a KindWait error stops.
type Scope string

// The scopes of a wait; ScopeAll exists for operators only.
const (
	ScopeAccount  Scope = "account"
	ScopeClient   Scope = "client" // our client id at the provider
	ScopeProvider Scope = "provider"
	ScopeAll      Scope = "all"
)

// Codes that a publish.failed event and the HTTP API share.
const (
	CodeMediaRejected     = "MEDIA_REJECTED"
	CodeMediaUnreachable  = "MEDIA_UNREACHABLE"
	CodeContentRejected   = "CONTENT_REJECTED"
	CodeAccountRestricted = "ACCOUNT_RESTRICTED"
	CodeReauthRequired    = "REAUTH_REQUIRED"
	CodeValidation        = "VALIDATION_ERROR"
	CodeRateLimited       = "PROVIDER_RATE_LIMITED"
	CodeQuotaExhausted    = "QUOTA_EXHAUSTED"
	CodeUnavailable       = "PROVIDER_UNAVAILABLE"
	CodeInternal          = "INTERNAL_ERROR"
	CodeTimeout           = "TIMEOUT_ERROR"
)

// Reasons of a wait, as publish.delayed tells them.
const (
	ReasonRateLimit    = "rate_limit"
	ReasonQuota        = "quota"
	ReasonProviderDown = "provider_down"
	ReasonToken        = "token"
	ReasonReauth       = "reauth"
	ReasonPaused       = "paused"
)

// Error is what a connector returns for everything that went wrong at the
// provider. Its text never holds a secret or a payload.
type Error struct {
	Kind         Kind
	Code         string // one of the Code constants: the answer to our caller when it ends here
	Reason       string // with KindWait, and with KindReauthorize of a refresh: one of the Reason constants
	Scope        Scope  // with KindWait
	Wait         time.Duration
	Call         Call
	ProviderCode string // such as "9007/2207027"
	Message      string // for people; no payload, no token
	Violations   []Violation
	// Restart tells the runner to forget the checkpoint: what was prepared is
	// of no use any more. Never set where a Commit of it may still take effect.
	Restart bool
	// NotSent: not one byte of the request left this process, which proves that
	// the call was not carried out.
	NotSent bool
	Err     error
}

func (e *Error) Error() string {
	s := e.Kind.String()
	if e.Call.Name != "" {
		s = e.Call.Name + ": " + s
	}
	if e.ProviderCode != "" {
		s += " " + e.ProviderCode
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// AsError returns the *Error in err's chain, or one of KindUnknown around it.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: KindUnknown, Code: CodeInternal, Message: "not classified", Err: err}
}
