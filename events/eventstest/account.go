package eventstest

import (
	"pgregory.net/rapid"

	"postbus.dev/events"
)

// Account draws an account.
func Account(t *rapid.T) events.AccountRef {
	return events.AccountRef{AccountID: UUID(t), Provider: provider(t)}
}

// Owner draws an account and whose it is.
func Owner(t *rapid.T) events.AccountOwner {
	return events.AccountOwner{AccountRef: Account(t), UserID: Word(t)}
}

// Connected draws a valid account.connected.
func Connected(t *rapid.T) events.AccountConnected {
	return events.AccountConnected{
		AccountOwner: Owner(t), ProviderAccountID: Word(t), Username: Text(t), Scope: Text(t), Reconnected: rapid.Bool().Draw(t, "reconnected"),
	}
}

// Disconnecting draws a valid account.disconnecting.
func Disconnecting(t *rapid.T) events.AccountDisconnecting {
	return events.AccountDisconnecting{AccountOwner: Owner(t), Reason: code(t), UserDeleted: rapid.Bool().Draw(t, "userDeleted")}
}

// Drained draws a valid account.drained.
func Drained(t *rapid.T) events.AccountDrained {
	return events.AccountDrained{AccountRef: Account(t), Unconfirmed: rapid.IntRange(0, 9).Draw(t, "unconfirmed")}
}

// Disconnected draws a valid account.disconnected.
func Disconnected(t *rapid.T) events.AccountDisconnected {
	return events.AccountDisconnected{AccountOwner: Owner(t), Reason: code(t), Revoked: rapid.Bool().Draw(t, "revoked")}
}

// ReauthRequired draws a valid account.reauth_required.
func ReauthRequired(t *rapid.T) events.AccountReauthRequired {
	return events.AccountReauthRequired{AccountOwner: Owner(t), Reason: code(t), Detail: Text(t)}
}

// Expiring draws a valid account.expiring.
func Expiring(t *rapid.T) events.AccountExpiring {
	return events.AccountExpiring{AccountOwner: Owner(t), ExpiresAt: Instant(t)}
}

// Recovered draws a valid account.recovered.
func Recovered(t *rapid.T) events.AccountRecovered {
	return events.AccountRecovered{AccountOwner: Owner(t)}
}

// Refreshed draws a valid token.refreshed.
func Refreshed(t *rapid.T) events.TokenRefreshed {
	return events.TokenRefreshed{AccountRef: Account(t), TokenVersion: tokenVersion(t), ExpiresAt: orZero(t)}
}

// RefreshFailed draws a valid token.refresh_failed.
func RefreshFailed(t *rapid.T) events.TokenRefreshFailed {
	return events.TokenRefreshFailed{
		AccountRef: Account(t), TokenVersion: tokenVersion(t), Class: code(t), Failures: rapid.IntRange(1, 99).Draw(t, "failures"), NextTryAt: orZero(t),
	}
}

func tokenVersion(t *rapid.T) int64 { return rapid.Int64Range(1, 1<<40).Draw(t, "tokenVersion") }

// code draws a name such as a reason or a class has.
func code(t *rapid.T) string { return rapid.StringMatching(`[a-z][a-z0-9_]{0,20}`).Draw(t, "code") }
