package events

import "time"

// PublishScheduled tells that a publish is accepted and due later.
type PublishScheduled struct {
	PublishRef
	DueAt     time.Time `json:"dueAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// EventType is publish.scheduled.
func (PublishScheduled) EventType() string { return TypePublishScheduled }

// SchemaVersion is the version of the schema of this data.
func (PublishScheduled) SchemaVersion() string { return Version1 }

func (d *PublishScheduled) fields() []field {
	return append(d.PublishRef.fields(),
		field{"dueAt", &d.DueAt, required},
		field{"expiresAt", &d.ExpiresAt, required})
}

// Validate reports what is missing.
func (d PublishScheduled) Validate() error {
	var f faults
	d.check(true, &f)
	checkInstant(&f, "/dueAt", d.DueAt)
	checkInstant(&f, "/expiresAt", d.ExpiresAt)
	return f.err(TypePublishScheduled)
}

// Why a publish waits. The list may grow; a reader takes an unknown reason for a
// wait like any other.
const (
	DelayRateLimit    = "rate_limit"    // the provider's, or ours before the provider's
	DelayQuota        = "quota"         // the account has used up its posts
	DelayProviderDown = "provider_down" // the provider fails or cannot be reached
	DelayToken        = "token"         // the access token is being refreshed
	DelayReauth       = "reauth"        // a person must reconnect the account
	DelayPaused       = "paused"        // an operator stopped it
)

// PublishDelayed tells that a publish waits, and is sent only when the reason
// changes.
type PublishDelayed struct {
	PublishRef
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`   // zero when nobody knows
	Detail string    `json:"detail,omitempty"` // for people
}

// EventType is publish.delayed.
func (PublishDelayed) EventType() string { return TypePublishDelayed }

// SchemaVersion is the version of the schema of this data.
func (PublishDelayed) SchemaVersion() string { return Version1 }

func (d *PublishDelayed) fields() []field {
	return append(d.PublishRef.fields(),
		field{"reason", &d.Reason, requiredNonEmpty},
		field{"until", &d.Until, optional},
		field{"detail", &d.Detail, optional})
}

// Validate reports what is missing.
func (d PublishDelayed) Validate() error {
	var f faults
	d.check(true, &f)
	checkCode(&f, "/reason", d.Reason, lowerLetters)
	return f.err(TypePublishDelayed)
}

// PublishProviderNotified tells that a provider's webhook, its signature
// verified, spoke of something of this account. It makes the publisher look
// sooner and decides nothing.
type PublishProviderNotified struct {
	AccountID string `json:"accountId"`
	Provider  string `json:"provider"`
	Handle    string `json:"handle"` // what the provider calls the thing: a container, an upload, a post
	Kind      string `json:"kind"`   // the provider's name of what happened
}

// EventType is publish.provider_notified.
func (PublishProviderNotified) EventType() string { return TypePublishProviderNotified }

// SchemaVersion is the version of the schema of this data.
func (PublishProviderNotified) SchemaVersion() string { return Version1 }

func (d *PublishProviderNotified) fields() []field {
	return []field{
		{"accountId", &d.AccountID, requiredNonEmpty},
		{"provider", &d.Provider, requiredNonEmpty},
		{"handle", &d.Handle, requiredNonEmpty},
		{"kind", &d.Kind, requiredNonEmpty},
	}
}

// Validate reports what is missing.
func (d PublishProviderNotified) Validate() error {
	var f faults
	checkUUID(&f, "/accountId", d.AccountID, true)
	checkWord(&f, "/provider", d.Provider, true)
	checkWord(&f, "/handle", d.Handle, true)
	checkWord(&f, "/kind", d.Kind, true)
	return f.err(TypePublishProviderNotified)
}
