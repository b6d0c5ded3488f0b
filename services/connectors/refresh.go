package connectors

import (
	"context"
	"time"
)

// Refresher renews tokens before they expire.
type Refresher interface {
	// RefreshRule says what a refresh at this provider is like.
	RefreshRule() RefreshRule
	// Refresh asks for new tokens, in one call that is never retried here. Where
	// RefreshRule.Rotates it is made through Client.Commit, in a context of
	// WithArm. refresh is empty where the provider has no refresh token.
	//
	// Of the Grant AccessToken is never empty. An empty RefreshToken, TokenType or
	// Scope means: as before. ExpiresIn, RefreshExpiresIn and RefreshIn are set as
	// in the Grant of Exchange.
	//
	// What went wrong is an *Error that says what it means for the account:
	//   - KindRetry: nothing; the provider failed, or the answer of a refresh that
	//     does not rotate was lost. The tokens are as good as before.
	//   - KindWait: Scope is throttled for Wait.
	//   - KindReauthorize: the grant is dead, for Reason: a person must reconnect.
	//   - KindReject with CodeInternal: our client is refused or not configured, for
	//     operators; no account is to blame.
	//   - KindUnknown, only where RefreshRule.Rotates: the refresh token may be spent
	//     and its successor lost. The old one may be tried again after quiet_at.
	Refresh(ctx context.Context, a Account, refresh Secret) (Grant, error)
}

// RefreshRule is what a provider asks of those who refresh.
type RefreshRule struct {
	// Rotates: a refresh may end the refresh token that it is made with.
	Rotates bool
	// Call is how long one refresh may take. Where it rotates it is also the time
	// from the arm write to send_by, Settle the time from there to quiet_at, and
	// UserTO is TCP_USER_TIMEOUT, as in Timing.
	Call, Settle, UserTO time.Duration
}

// Checker looks whether a grant that has nothing to refresh still works.
type Checker interface {
	// Check asks the provider and returns when to ask again. Errors are those of
	// Refresh, without KindUnknown. After KindReauthorize it is asked again too:
	// such a grant may come to life by itself.
	Check(ctx context.Context, a Account) (again time.Duration, err error)
}

// Why a person must reconnect, as account.reauth_required tells it.
const (
	ReasonInvalidGrant = "invalid_grant" // the provider does not take the refresh token, and says no more
	ReasonRevoked      = "revoked"       // the person, or the provider for them, took the grant back
	ReasonExpired      = "expired"       // its time is over
	ReasonSignedOut    = "signed_out"    // the session behind the account has ended
)
