// Package secrettest makes sealers for tests.
package secrettest

import (
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"postbus.dev/services/internal/secret"
)

// NewSealer returns a sealer with a key of its own.
func NewSealer(t testing.TB) *secret.Sealer {
	t.Helper()
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	s, err := secret.NewSealer(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
