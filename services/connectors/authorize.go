package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Authorizer connects an account: it sends a person to the provider and turns
// what comes back into a Grant.
type Authorizer interface {
	// AuthorizeURL is where the person's browser is sent. It holds no secret.
	AuthorizeURL(r AuthorizeRequest) (string, error)
	// PKCE says whether the provider checks a code_verifier (RFC 7636, S256).
	// Where it does not, AuthorizeRequest.Challenge and Exchange.Verifier are
	// empty.
	PKCE() bool
	// Exchange spends the code of a callback and reads who the account is. The
	// call that spends the code is made once and never retried: a code works once,
	// and some providers revoke a whole grant when it comes again. What went wrong
	// is an *Error: KindReject where the person has to begin anew, KindRetry where
	// the answer was lost or the provider failed (the code counts as spent then
	// too), and Code says which of our codes it is.
	Exchange(ctx context.Context, x Exchange) (Grant, error)
}

// AuthorizeRequest is one person's way to the provider.
type AuthorizeRequest struct {
	State       string // echoed to the callback; at most 255 characters of A-Z a-z 0-9 - _
	RedirectURI string // ours, exactly as it is registered with the provider
	Challenge   string // S256 of Exchange.Verifier; "" without PKCE
}

// Exchange is what a callback brought.
type Exchange struct {
	Code        Secret
	RedirectURI string // the same as in AuthorizeRequest
	Verifier    Secret // empty without PKCE
}

// Grant is what a person gave us: tokens, and the account that they are for.
type Grant struct {
	ProviderAccountID string // the provider's stable id, used in its paths
	Username          string
	AccessToken       Secret
	RefreshToken      Secret // empty where the provider has none
	TokenType         string // "" for "bearer"
	Scope             string // what was granted, as the provider writes it
	// Missing are the scopes that publishing needs and the person did not grant.
	// Such a grant is refused (MISSING_SCOPE) and nothing of it is kept.
	Missing          []string
	ExpiresIn        time.Duration // of the access token, from now; 0: it does not expire
	RefreshExpiresIn time.Duration // of the refresh token, from now; 0: it does not expire, or there is none
	// RefreshIn is when the grant should be refreshed first, from now, by the
	// provider's own rule; 0: there is nothing to refresh.
	RefreshIn time.Duration
	Metadata  json.RawMessage // the connector's own facts of the account; nil for none
}

// Importer takes tokens that were granted elsewhere to an app of ours.
type Importer interface {
	// Import asks the provider who the tokens belong to and what they allow, and
	// returns the grant completed. given holds AccessToken and, where there are
	// any, RefreshToken, Scope, ExpiresIn and ProviderAccountID; one that the
	// provider contradicts is a KindReject.
	Import(ctx context.Context, given Grant) (Grant, error)
}

// Revoker ends a grant at the provider, so that the tokens are of no use to
// anybody. It is repeatable; a grant that is gone already is no error.
type Revoker interface {
	Revoke(ctx context.Context, a Account, refresh Secret) error
}

// CallbackReader verifies what a provider sends us by itself.
type CallbackReader interface {
	// ReadCallback returns what a verified call says. ErrForged means that its
	// signature is missing or wrong, any other error that it cannot be read.
	// Signatures are compared in constant time, and nothing of an unverified body
	// is in the error.
	ReadCallback(r CallbackRequest) (Callback, error)
}

// CallbackRequest is a provider's call as it came.
type CallbackRequest struct {
	Kind   string // the last part of the path: one of the Callback constants
	Header http.Header
	Body   []byte
	Query  map[string][]string
}

// What a provider may tell; the last part of /api/callbacks/{provider}/{kind}.
const (
	CallbackDeauthorize = "deauthorize" // a person removed our app: the grant is dead
	CallbackDeletion    = "deletion"    // a person asked that what we know of them be deleted
	CallbackWebhook     = "webhook"     // something about a post, or the check that the address is ours
)

// Callback is what a verified call said.
type Callback struct {
	// AccountKeys select the accounts: those of the provider whose
	// ProviderAccountID, or a value in whose Metadata at the key "callback_id",
	// equals one of them.
	AccountKeys []string
	// IssuedAt is when the provider made it; zero where it does not tell. What is
	// much older than now is a replay.
	IssuedAt time.Time
	// Posts are what a webhook tells of posts, in its order.
	Posts []PostNotice
	// Challenge, where not "", is the answer to a check that the address is ours.
	Challenge string
}

// PostNotice tells that something happened to a post.
type PostNotice struct {
	AccountKey string // as in AccountKeys
	RemoteID   string // the provider's handle of the post or of its preparation
	Kind       string // the provider's own word for it
}

// ErrForged says that a call does not come from the provider.
var ErrForged = errors.New("signature missing or wrong")
