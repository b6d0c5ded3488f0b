package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Authorizer connects an account: it sends a person to the provider and turns
// what comes back into a Grant.
//
// A build without a provider's client settings still publishes for accounts
// that are connected already. Everything that needs those settings then returns
// an error that is ErrNotConfigured and names what is missing; it does so
// before it makes a call.
type Authorizer interface {
	// AuthorizeURL is where the person's browser is sent. It holds no secret. A
	// provider where that begins with a call of ours is called here; what went
	// wrong with it is an *Error.
	AuthorizeURL(ctx context.Context, r AuthorizeRequest) (string, error)
	// PKCE says whether the provider checks a code_verifier (RFC 7636, S256).
	// Where it does not, AuthorizeRequest.Challenge and Exchange.Verifier are
	// empty.
	PKCE() bool
	// Exchange spends the code of a callback and reads who the account is. The
	// call that spends the code is made once and never retried: a code works once,
	// and some providers revoke a whole grant when it comes again. Nor is Exchange
	// called again with the same code: whatever went wrong, the person begins anew.
	//
	// What went wrong is an *Error. KindRetry: the answer was lost, or the provider
	// failed. KindReject, by Code: CodeReauthRequired, the code is not good (spent,
	// expired, not ours); CodeAccountRestricted, an account of this sort cannot be
	// connected; CodeInternal, the provider refuses our client, for operators.
	Exchange(ctx context.Context, x Exchange) (Grant, error)
}

// ErrNotConfigured says that the settings of our client at the provider are
// missing, its id and secret. The error around it names them.
var ErrNotConfigured = errors.New("not configured")

// AuthorizeRequest is one person's way to the provider.
type AuthorizeRequest struct {
	State       string // echoed to the callback; at most 255 characters of A-Z a-z 0-9 - _
	RedirectURI string // ours, exactly as it is registered with the provider
	Challenge   string // S256 of Exchange.Verifier; "" without PKCE
}

// Exchange is what a callback brought.
type Exchange struct {
	// Code is the parameter code, as it came. That it is empty is the connector's
	// to judge: a provider may have none, and know the person by State.
	Code        Secret
	State       string // the same as in AuthorizeRequest
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
	// Such a grant is refused (MISSING_SCOPE) and nothing of it is kept: only its
	// Scope, what is known of its AccountKeys and what Revoke needs to end it have
	// to be filled in. Without a key it is not revoked: at many providers that would
	// end the grant of an account that is connected already, too.
	Missing          []string
	ExpiresIn        time.Duration // of the access token, from now; 0: it does not expire
	RefreshExpiresIn time.Duration // of the refresh token, from now; 0: it does not expire, or there is none
	// RefreshIn is when the grant should be refreshed first, from now, by the
	// provider's own rule, or looked at first by a Checker; 0: neither.
	RefreshIn time.Duration
	// Metadata is the connector's own facts of the account, a JSON object; nil for
	// none. No secret is in it. At CallbackID stands the account's name in the
	// provider's callbacks, where that is not ProviderAccountID.
	Metadata json.RawMessage
}

// CallbackID is the member of Grant.Metadata, a string, that Callback.AccountKeys
// may name an account by.
const CallbackID = "callback_id"

// AccountKeys are the names that Callback.AccountKeys may have for an account.
func AccountKeys(providerAccountID string, metadata json.RawMessage) []string {
	var known map[string]json.RawMessage
	var callback string
	if json.Unmarshal(metadata, &known) == nil {
		_ = json.Unmarshal(known[CallbackID], &callback) // a name is a string
	}
	return slices.DeleteFunc([]string{providerAccountID, callback}, func(key string) bool { return key == "" })
}

// Importer takes tokens that were granted elsewhere to an app of ours.
type Importer interface {
	// Import asks the provider who the tokens belong to and what they allow, and
	// returns the grant completed. given holds AccessToken and, where there are
	// any, RefreshToken, Scope, ExpiresIn and ProviderAccountID. Errors are those
	// of Exchange, and one more: KindReject with CodeValidation where the provider
	// contradicts what is given. What KindRetry leaves may be imported again.
	Import(ctx context.Context, given Grant) (Grant, error)
}

// Revoker ends a grant at the provider, so that the tokens are of no use to
// anybody. It is repeatable; a grant that is gone already is no error.
type Revoker interface {
	// Revoke returns an *Error: of KindRetry or KindWait where another try may
	// help, of any other kind where none will and the grant stays, as far as is
	// known. a holds what Grant gave, with or without the row around it.
	Revoke(ctx context.Context, a Account, refresh Secret) error
}

// CallbackReader verifies what a provider sends us by itself.
type CallbackReader interface {
	// ReadCallback returns what a verified call says. ErrForged means that its
	// signature is missing or wrong, ErrNoCallback that the provider has no such
	// callback, ErrNotConfigured that there is no secret to verify it with, any
	// other error that it cannot be read. Signatures are compared in constant
	// time, and nothing of an unverified body is in the error.
	ReadCallback(r CallbackRequest) (Callback, error)
}

// CallbackRequest is a provider's call as it came.
type CallbackRequest struct {
	Kind   string // the last part of the path: one of the Callback constants
	Header http.Header
	Body   []byte
	Query  url.Values
}

// What a provider may tell; the last part of /api/callbacks/{provider}/{kind}.
const (
	CallbackDeauthorize = "deauthorize" // a person removed our app: the grant is dead
	CallbackDeletion    = "deletion"    // a person asked that what we know of them be deleted
	CallbackWebhook     = "webhook"     // something about a post, or the check that the address is ours
)

// Callback is what a verified call said.
type Callback struct {
	// Kind is what it says, one of the Callback constants: a provider with one
	// address for everything tells there of removals too.
	Kind string
	// ID is the same for every copy of this call, however it is written, and
	// another for every other call to the same path: it is made of what the
	// signature covers. By both a replay is known. "" only beside a Challenge.
	ID string
	// AccountKeys select the accounts: those of the provider whose
	// ProviderAccountID, or whose Metadata at CallbackID, equals one of them.
	AccountKeys []string
	// IssuedAt is when the provider made it; zero where it does not tell, which
	// only a webhook may. What is much older than now is a replay.
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

// What is wrong with a call that is not believed.
var (
	ErrForged     = errors.New("signature missing or wrong")
	ErrNoCallback = errors.New("the provider has no such callback")
)
