package oauthaccount

import (
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/connectors"
)

// Granted is the account that a person granted for a user, as of now.
func Granted(userID uuid.UUID, provider string, g connectors.Grant, now time.Time) New {
	in := func(d time.Duration) time.Time {
		if d == 0 {
			return time.Time{}
		}
		return now.Add(d)
	}
	return New{
		UserID: userID, Provider: provider, ProviderAccountID: g.ProviderAccountID, Username: g.Username,
		AccessToken: g.AccessToken, RefreshToken: g.RefreshToken, TokenType: g.TokenType, Scope: g.Scope,
		ExpiresAt: in(g.ExpiresIn), RefreshExpiresAt: in(g.RefreshExpiresIn), RefreshAfter: in(g.RefreshIn), Metadata: g.Metadata,
	}
}
