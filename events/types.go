package events

import "strings"

// The types of all events, which are their NATS subjects too.
const (
	TypePublishRequested        = "publish.requested"         // from upstream and the HTTP API: publish this
	TypePublishCancelRequested  = "publish.cancel_requested"  // from upstream and the HTTP API: stop it if it is not armed
	TypePublishScheduled        = "publish.scheduled"         // accepted, due later
	TypePublishDelayed          = "publish.delayed"           // waits, and why
	TypePublishCompleted        = "publish.completed"         // it is live
	TypePublishFailed           = "publish.failed"            // it is not live and will not be
	TypePublishCanceled         = "publish.canceled"          // stopped before it was armed
	TypePublishUnconfirmed      = "publish.unconfirmed"       // the answer was lost and read-back cannot tell
	TypePublishProviderNotified = "publish.provider_notified" // a verified webhook: look sooner

	TypeAccountConnected      = "account.connected"       // an OAuth account was linked, or linked anew
	TypeAccountDisconnecting  = "account.disconnecting"   // stop its publishes
	TypeAccountDrained        = "account.drained"         // none of them is left that could act
	TypeAccountDisconnected   = "account.disconnected"    // its tokens are gone
	TypeAccountReauthRequired = "account.reauth_required" // a person must reconnect it
	TypeAccountExpiring       = "account.expiring"        // a person will have to, before a date
	TypeAccountRecovered      = "account.recovered"       // works again

	TypeTokenRefreshRequested = "token.refresh_requested" // refresh this account, from this token version
	TypeTokenRefreshed        = "token.refreshed"         // new version and expiry
	TypeTokenRefreshFailed    = "token.refresh_failed"    // class of failure, next try
)

// SchemaBase is where every dataschema of ours begins.
const SchemaBase = "https://postbus.dev/schemas/"

// Version1 is the schema version of all data in this package.
const Version1 = "1.0"

// SchemaURI is the dataschema of an event type in a version such as "1.0".
func SchemaURI(eventType, version string) string {
	return SchemaBase + eventType + "/" + version + ".json"
}

// checkSchema judges a dataschema. An absent one is the producer's right, and a
// foreign one says nothing that we know; one of ours must name the event's own
// type and a major version that this package can read. A newer minor version
// only adds fields, so it is reported for the reader to ignore them.
func checkSchema(eventType, dataschema string) (newerMinor bool, fault string) {
	rest, ours := strings.CutPrefix(dataschema, SchemaBase)
	if !ours {
		return false, ""
	}
	name, file, _ := strings.Cut(rest, "/")
	if name != eventType {
		return false, "dataschema is that of another event type"
	}
	version, isJSON := strings.CutSuffix(file, ".json")
	major, minor, dotted := strings.Cut(version, ".")
	if !isJSON || !dotted || !digits(major) || !digits(minor) {
		return false, "dataschema does not end in <major>.<minor>.json"
	}
	if major != "1" {
		return false, "dataschema has an unknown major version"
	}
	return minor != "0", ""
}

func digits(s string) bool {
	return s != "" && len(s) <= 9 && strings.Trim(s, "0123456789") == ""
}
