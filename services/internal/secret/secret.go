// Package secret seals tokens for the database.
//
// A token is encrypted with a Tink AEAD and bound to its place: the associated
// data names table, column, provider and the provider's account id. Ciphertext
// that is copied to another row, column or account does not open, so that who
// can write to the database cannot give one account the token of another.
//
// What is sealed carries the id of the key that sealed it. A keyset may hold
// several keys: the primary seals, all of them open. To rotate, a new key is added
// and promoted (Keyset.Add, Keyset.Promote) while processes run: each reads the
// file again when it meets a key that it does not know, and within Stale seals
// with the new one. Then everything is sealed anew, and the old keys are pruned.
//
// Opened values are connectors.Secret, the type that prints "[redacted]". No
// error of this package holds a token, ciphertext or key.
package secret

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNotOpened means that a sealed value was not sealed for this place by a key
// of this keyset, or was altered since. Which of these it is cannot be told.
var ErrNotOpened = errors.New("not sealed for this place by a key of this keyset")

// AD names the place that a sealed value belongs to. Every field is required.
type AD struct {
	Table             string // such as "oauth_accounts"
	Column            string // such as "access_token"
	Provider          string // such as "instagram"
	ProviderAccountID string // the provider's id of the account
}

// encode writes each field after its length: without it ("ab", "c") and
// ("a", "bc") would be the same place.
func (ad AD) encode() ([]byte, error) {
	fields := [...]string{ad.Table, ad.Column, ad.Provider, ad.ProviderAccountID}
	var out []byte
	for i, f := range fields {
		if f == "" {
			return nil, fmt.Errorf("associated data lacks its %s",
				[...]string{"table", "column", "provider", "provider account id"}[i])
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(f)))
		out = append(out, f...)
	}
	return out, nil
}
