package events

import "time"

// AccountRef says which account an event is about.
type AccountRef struct {
	AccountID string `json:"accountId"` // ours, a UUID
	Provider  string `json:"provider"`
}

func (r *AccountRef) fields() []field {
	return []field{
		{"accountId", &r.AccountID, requiredNonEmpty},
		{"provider", &r.Provider, requiredNonEmpty},
	}
}

func (r AccountRef) check(f *faults) {
	checkUUID(f, "/accountId", r.AccountID, true)
	checkWord(f, "/provider", r.Provider, true)
}

// AccountOwner is an AccountRef and whose account it is.
type AccountOwner struct {
	AccountRef
	UserID string `json:"userId"` // upstream's own id of the user
}

func (o *AccountOwner) fields() []field {
	return append(o.AccountRef.fields(), field{"userId", &o.UserID, requiredNonEmpty})
}

func (o AccountOwner) check(f *faults) {
	o.AccountRef.check(f)
	checkWord(f, "/userId", o.UserID, true)
}

// AccountConnected tells that an account can be published with from now on.
type AccountConnected struct {
	AccountOwner
	ProviderAccountID string `json:"providerAccountId"`
	Username          string `json:"username,omitempty"`
	Scope             string `json:"scope,omitempty"` // what was granted, as the provider writes it
	Reconnected       bool   `json:"reconnected"`     // the account was known, under the same id
}

// EventType is account.connected.
func (AccountConnected) EventType() string { return TypeAccountConnected }

// SchemaVersion is the version of the schema of this data.
func (AccountConnected) SchemaVersion() string { return Version1 }

func (d *AccountConnected) fields() []field {
	return append(d.AccountOwner.fields(),
		field{"providerAccountId", &d.ProviderAccountID, requiredNonEmpty},
		field{"username", &d.Username, optional},
		field{"scope", &d.Scope, optional},
		field{"reconnected", &d.Reconnected, required})
}

// Validate reports what is missing.
func (d AccountConnected) Validate() error {
	var f faults
	d.check(&f)
	checkWord(&f, "/providerAccountId", d.ProviderAccountID, true)
	return f.err(TypeAccountConnected)
}

// Why an account is disconnected. The list may grow.
const (
	DisconnectRequested         = "requested"           // by its owner, or somebody who may act for her
	DisconnectUserDeleted       = "user_deleted"        // the user is being deleted
	DisconnectRevokedAtProvider = "revoked_at_provider" // the owner withdrew the grant over there
	DisconnectDeletionRequested = "deletion_requested"  // the owner asked the provider to have her data deleted here
)

// AccountDisconnecting tells that nothing new may be published with an account:
// what is not armed fails, what is armed settles, and then AccountDrained says
// so.
type AccountDisconnecting struct {
	AccountOwner
	Reason      string `json:"reason"`
	UserDeleted bool   `json:"userDeleted"`
}

// EventType is account.disconnecting.
func (AccountDisconnecting) EventType() string { return TypeAccountDisconnecting }

// SchemaVersion is the version of the schema of this data.
func (AccountDisconnecting) SchemaVersion() string { return Version1 }

func (d *AccountDisconnecting) fields() []field {
	return append(d.AccountOwner.fields(),
		field{"reason", &d.Reason, requiredNonEmpty},
		field{"userDeleted", &d.UserDeleted, required})
}

// Validate reports what is missing.
func (d AccountDisconnecting) Validate() error {
	var f faults
	d.check(&f)
	checkCode(&f, "/reason", d.Reason, lowerLetters)
	return f.err(TypeAccountDisconnecting)
}

// AccountDrained tells that no publish of a disconnecting account is left that
// could act.
type AccountDrained struct {
	AccountRef
	Unconfirmed int `json:"unconfirmed"` // publishes of the account whose outcome nobody could tell
}

// EventType is account.drained.
func (AccountDrained) EventType() string { return TypeAccountDrained }

// SchemaVersion is the version of the schema of this data.
func (AccountDrained) SchemaVersion() string { return Version1 }

func (d *AccountDrained) fields() []field {
	return append(d.AccountRef.fields(), field{"unconfirmed", &d.Unconfirmed, required})
}

// Validate reports what is missing.
func (d AccountDrained) Validate() error {
	var f faults
	d.check(&f)
	checkAtLeast(&f, "/unconfirmed", int64(d.Unconfirmed), 0)
	return f.err(TypeAccountDrained)
}

// AccountDisconnected tells that an account is disconnected: its tokens are gone.
type AccountDisconnected struct {
	AccountOwner
	Reason  string `json:"reason"`
	Revoked bool   `json:"revoked"` // the provider said that it takes the tokens no more
}

// EventType is account.disconnected.
func (AccountDisconnected) EventType() string { return TypeAccountDisconnected }

// SchemaVersion is the version of the schema of this data.
func (AccountDisconnected) SchemaVersion() string { return Version1 }

func (d *AccountDisconnected) fields() []field {
	return append(d.AccountOwner.fields(),
		field{"reason", &d.Reason, requiredNonEmpty},
		field{"revoked", &d.Revoked, required})
}

// Validate reports what is missing.
func (d AccountDisconnected) Validate() error {
	var f faults
	d.check(&f)
	checkCode(&f, "/reason", d.Reason, lowerLetters)
	return f.err(TypeAccountDisconnected)
}

// AccountReauthRequired tells that a person must reconnect an account before
// anything is published with it again.
type AccountReauthRequired struct {
	AccountOwner
	Reason string `json:"reason"`           // short and stable, such as invalid_grant
	Detail string `json:"detail,omitempty"` // for people
}

// EventType is account.reauth_required.
func (AccountReauthRequired) EventType() string { return TypeAccountReauthRequired }

// SchemaVersion is the version of the schema of this data.
func (AccountReauthRequired) SchemaVersion() string { return Version1 }

func (d *AccountReauthRequired) fields() []field {
	return append(d.AccountOwner.fields(),
		field{"reason", &d.Reason, requiredNonEmpty},
		field{"detail", &d.Detail, optional})
}

// Validate reports what is missing.
func (d AccountReauthRequired) Validate() error {
	var f faults
	d.check(&f)
	checkCode(&f, "/reason", d.Reason, lowerLetters)
	return f.err(TypeAccountReauthRequired)
}

// AccountExpiring tells that a person must reconnect an account before a date,
// because nothing else can prolong its grant.
type AccountExpiring struct {
	AccountOwner
	ExpiresAt time.Time `json:"expiresAt"`
}

// EventType is account.expiring.
func (AccountExpiring) EventType() string { return TypeAccountExpiring }

// SchemaVersion is the version of the schema of this data.
func (AccountExpiring) SchemaVersion() string { return Version1 }

func (d *AccountExpiring) fields() []field {
	return append(d.AccountOwner.fields(), field{"expiresAt", &d.ExpiresAt, required})
}

// Validate reports what is missing.
func (d AccountExpiring) Validate() error {
	var f faults
	d.check(&f)
	checkInstant(&f, "/expiresAt", d.ExpiresAt)
	return f.err(TypeAccountExpiring)
}

// AccountRecovered tells that an account that had to be reconnected works again.
type AccountRecovered struct {
	AccountOwner
}

// EventType is account.recovered.
func (AccountRecovered) EventType() string { return TypeAccountRecovered }

// SchemaVersion is the version of the schema of this data.
func (AccountRecovered) SchemaVersion() string { return Version1 }

// Validate reports what is missing.
func (d AccountRecovered) Validate() error {
	var f faults
	d.check(&f)
	return f.err(TypeAccountRecovered)
}
