// Package secret seals tokens for the database.
//
// A token is encrypted with a Tink AEAD and bound to its place: the associated
// data names table, column, provider and the provider's account id. Ciphertext
// that is copied to another row, column or account does not open, so that who
// can write to the database cannot give one account the token of another.
//
// What is sealed carries the id of the key that sealed it. A keyset may hold
// several keys: the primary seals, all of them open, which is what rotation
// needs.
//
// Opened values are connectors.Secret, the type that prints "[redacted]". No
// error of this package holds a token, ciphertext or key.
package secret

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"postbus.dev/services/connectors"
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

// Sealer seals and opens secrets with one keyset. It is safe for concurrent use.
type Sealer struct{ aead tink.AEAD }

// NewSealer returns a Sealer over an AEAD keyset, wherever the keyset came from.
func NewSealer(keys *keyset.Handle) (*Sealer, error) {
	if keys == nil {
		return nil, errors.New("make sealer: no keyset")
	}
	a, err := aead.New(keys)
	if err != nil {
		return nil, fmt.Errorf("make sealer: %w", err)
	}
	return &Sealer{aead: a}, nil
}

// Seal encrypts plain for the place ad. An empty secret is refused: where there
// is no token the column is null, and an empty one must never replace a token.
func (s *Sealer) Seal(plain connectors.Secret, ad AD) ([]byte, error) {
	if plain.Empty() {
		return nil, fmt.Errorf("seal %s.%s: the secret is empty", ad.Table, ad.Column)
	}
	bound, err := ad.encode()
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s: %w", ad.Table, ad.Column, err)
	}
	sealed, err := s.aead.Encrypt([]byte(plain.Reveal()), bound)
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s: %w", ad.Table, ad.Column, err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same ad, or returns ErrNotOpened.
func (s *Sealer) Open(sealed []byte, ad AD) (connectors.Secret, error) {
	bound, err := ad.encode()
	if err != nil {
		return connectors.Secret{}, fmt.Errorf("open %s.%s: %w", ad.Table, ad.Column, err)
	}
	plain, err := s.aead.Decrypt(sealed, bound)
	if err != nil { // Tink says no more than that it failed
		return connectors.Secret{}, fmt.Errorf("open %s.%s: %w", ad.Table, ad.Column, ErrNotOpened)
	}
	return connectors.NewSecret(string(plain)), nil
}
