package events

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
