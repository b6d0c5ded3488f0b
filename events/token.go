package events

import "time"

// TokenRefreshRequested asks for new tokens of an account whose current ones
// have TokenVersion. Where a newer version is already stored, nothing happens.
type TokenRefreshRequested struct {
	AccountID    string `json:"accountId"`
	Provider     string `json:"provider"`
	TokenVersion int64  `json:"tokenVersion"`     // the version that did not work
	Reason       string `json:"reason,omitempty"` // for people
}

// EventType is token.refresh_requested.
func (TokenRefreshRequested) EventType() string { return TypeTokenRefreshRequested }

// SchemaVersion is the version of the schema of this data.
func (TokenRefreshRequested) SchemaVersion() string { return Version1 }

func (d *TokenRefreshRequested) fields() []field {
	return []field{
		{"accountId", &d.AccountID, requiredNonEmpty},
		{"provider", &d.Provider, requiredNonEmpty},
		{"tokenVersion", &d.TokenVersion, required},
		{"reason", &d.Reason, optional},
	}
}

// Validate reports what is missing.
func (d TokenRefreshRequested) Validate() error {
	var f faults
	checkUUID(&f, "/accountId", d.AccountID, true)
	checkWord(&f, "/provider", d.Provider, true)
	checkAtLeast(&f, "/tokenVersion", d.TokenVersion, 0)
	return f.err(TypeTokenRefreshRequested)
}

// TokenRefreshed tells that an account has new tokens.
type TokenRefreshed struct {
	AccountRef
	TokenVersion int64     `json:"tokenVersion"`       // of the new ones
	ExpiresAt    time.Time `json:"expiresAt,omitzero"` // of the access token; zero if it does not expire
}

// EventType is token.refreshed.
func (TokenRefreshed) EventType() string { return TypeTokenRefreshed }

// SchemaVersion is the version of the schema of this data.
func (TokenRefreshed) SchemaVersion() string { return Version1 }

func (d *TokenRefreshed) fields() []field {
	return append(d.AccountRef.fields(),
		field{"tokenVersion", &d.TokenVersion, required},
		field{"expiresAt", &d.ExpiresAt, optional})
}

// Validate reports what is missing.
func (d TokenRefreshed) Validate() error {
	var f faults
	d.check(&f)
	checkAtLeast(&f, "/tokenVersion", d.TokenVersion, 1)
	return f.err(TypeTokenRefreshed)
}

// TokenRefreshFailed tells that an account's tokens could not be refreshed this
// time. The account keeps what it has.
type TokenRefreshFailed struct {
	AccountRef
	TokenVersion int64     `json:"tokenVersion"`       // of the tokens that it keeps
	Class        string    `json:"class"`              // of the failure: short and stable, such as unavailable
	Failures     int       `json:"failures"`           // in a row, this one included
	NextTryAt    time.Time `json:"nextTryAt,omitzero"` // zero when there is no next try
}

// EventType is token.refresh_failed.
func (TokenRefreshFailed) EventType() string { return TypeTokenRefreshFailed }

// SchemaVersion is the version of the schema of this data.
func (TokenRefreshFailed) SchemaVersion() string { return Version1 }

func (d *TokenRefreshFailed) fields() []field {
	return append(d.AccountRef.fields(),
		field{"tokenVersion", &d.TokenVersion, required},
		field{"class", &d.Class, requiredNonEmpty},
		field{"failures", &d.Failures, required},
		field{"nextTryAt", &d.NextTryAt, optional})
}

// Validate reports what is missing.
func (d TokenRefreshFailed) Validate() error {
	var f faults
	d.check(&f)
	checkAtLeast(&f, "/tokenVersion", d.TokenVersion, 1)
	checkCode(&f, "/class", d.Class, lowerLetters)
	checkAtLeast(&f, "/failures", int64(d.Failures), 1)
	return f.err(TypeTokenRefreshFailed)
}
