package secret_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/signature"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "IGQVJ-very-secret-token"

var place = secret.AD{Table: "oauth_accounts", Column: "access_token", Provider: "instagram", ProviderAccountID: "1784"}

func newKeys(t *testing.T) *keyset.Handle {
	t.Helper()
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newSealer(t *testing.T, keys *keyset.Handle) *secret.Sealer {
	t.Helper()
	s, err := secret.NewSealer(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seal(t *testing.T, s *secret.Sealer) []byte {
	t.Helper()
	sealed, err := s.Seal(connectors.NewSecret(token), place)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// refused fails the test unless err is ErrNotOpened and holds nothing of what
// was sealed.
func refused(t *testing.T, got connectors.Secret, err error, sealed []byte) {
	t.Helper()
	if !errors.Is(err, secret.ErrNotOpened) {
		t.Fatalf("opened, or failed otherwise: %v", err)
	}
	if !got.Empty() {
		t.Error("a secret came with the error")
	}
	for _, part := range []string{token, string(sealed), place.ProviderAccountID} {
		if strings.Contains(err.Error(), part) {
			t.Errorf("the error tells too much: %v", err)
		}
	}
}

func TestWhatIsSealedOpensAtItsPlace(t *testing.T) {
	t.Parallel()
	s := newSealer(t, newKeys(t))
	sealed := seal(t, s)
	if bytes.Contains(sealed, []byte(token)) {
		t.Error("the token can be read in what was sealed")
	}
	got, err := s.Open(sealed, place)
	if err != nil || got.Reveal() != token {
		t.Errorf("opened %v, %v", got.Reveal() == token, err)
	}
	if bytes.Equal(sealed, seal(t, s)) {
		t.Error("the same token sealed twice looks the same")
	}
}

func TestWhatIsSealedDoesNotOpenElsewhere(t *testing.T) {
	t.Parallel()
	s := newSealer(t, newKeys(t))
	sealed := seal(t, s)
	for name, move := range map[string]func(*secret.AD){
		"another table":    func(ad *secret.AD) { ad.Table = "users" },
		"another column":   func(ad *secret.AD) { ad.Column = "refresh_token" },
		"another provider": func(ad *secret.AD) { ad.Provider = "tiktok" },
		"another account":  func(ad *secret.AD) { ad.ProviderAccountID = "1785" },
		"fields that read the same when joined": func(ad *secret.AD) {
			ad.Provider, ad.ProviderAccountID = "instagram1", "784"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ad := place
			move(&ad)
			got, err := s.Open(sealed, ad)
			refused(t, got, err, sealed)
		})
	}
}

func TestWhatIsSealedDoesNotOpenWithAnotherKeyset(t *testing.T) {
	t.Parallel()
	sealed := seal(t, newSealer(t, newKeys(t)))
	got, err := newSealer(t, newKeys(t)).Open(sealed, place)
	refused(t, got, err, sealed)
}

func TestWhatWasAlteredDoesNotOpen(t *testing.T) {
	t.Parallel()
	s := newSealer(t, newKeys(t))
	sealed := seal(t, s)
	for i := range sealed {
		altered := bytes.Clone(sealed)
		altered[i] ^= 1
		got, err := s.Open(altered, place)
		refused(t, got, err, sealed)
	}
	for _, short := range [][]byte{nil, {}, sealed[:4], sealed[:len(sealed)-1]} {
		got, err := s.Open(short, place)
		refused(t, got, err, sealed)
	}
}

func TestARotatedKeysetOpensWhatTheOldKeySealed(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	old := seal(t, newSealer(t, keys))

	m := keyset.NewManagerFromHandle(keys)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	rotated, err := m.Handle()
	if err != nil {
		t.Fatal(err)
	}
	s := newSealer(t, rotated)
	if got, err := s.Open(old, place); err != nil || got.Reveal() != token {
		t.Errorf("the old key's work does not open: %v", err)
	}
	young := seal(t, s)
	got, err := newSealer(t, keys).Open(young, place)
	refused(t, got, err, young) // it was sealed by the new primary
}

func TestAnEmptySecretIsNotSealed(t *testing.T) {
	t.Parallel()
	s := newSealer(t, newKeys(t))
	for _, empty := range []connectors.Secret{{}, connectors.NewSecret("")} {
		if sealed, err := s.Seal(empty, place); err == nil || sealed != nil {
			t.Error("an empty secret was sealed")
		}
	}
}

func TestAPlaceThatLacksAFieldIsRefused(t *testing.T) {
	t.Parallel()
	s := newSealer(t, newKeys(t))
	sealed := seal(t, s)
	for _, drop := range []func(*secret.AD){
		func(ad *secret.AD) { ad.Table = "" },
		func(ad *secret.AD) { ad.Column = "" },
		func(ad *secret.AD) { ad.Provider = "" },
		func(ad *secret.AD) { ad.ProviderAccountID = "" },
	} {
		ad := place
		drop(&ad)
		if _, err := s.Seal(connectors.NewSecret(token), ad); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("sealed for %+v: %v", ad, err)
		}
		if _, err := s.Open(sealed, ad); err == nil {
			t.Errorf("opened for %+v", ad)
		}
	}
}

func TestAKeysetThatCannotSealMakesNoSealer(t *testing.T) {
	t.Parallel()
	if _, err := secret.NewSealer(nil); err == nil {
		t.Error("a sealer without keyset")
	}
	signing, err := keyset.NewHandle(signature.ED25519KeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secret.NewSealer(signing); err == nil {
		t.Error("a sealer over a signing key")
	}
}

func TestAnySecretOpensAtItsPlaceAndAtNoOther(t *testing.T) {
	t.Parallel()
	s := newSealer(t, newKeys(t))
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringN(1, 8, -1)
		places := rapid.Custom(func(t *rapid.T) secret.AD {
			return secret.AD{
				Table: word.Draw(t, "table"), Column: word.Draw(t, "column"),
				Provider: word.Draw(t, "provider"), ProviderAccountID: word.Draw(t, "account"),
			}
		})
		plain := rapid.StringN(1, 400, -1).Draw(t, "plain")
		here, there := places.Draw(t, "here"), places.Draw(t, "there")
		sealed, err := s.Seal(connectors.NewSecret(plain), here)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(sealed, here); err != nil || got.Reveal() != plain {
			t.Fatalf("did not open at its place: %v", err)
		}
		if _, err := s.Open(sealed, there); (err == nil) != (here == there) {
			t.Fatalf("sealed for %+v, opened for %+v: %v", here, there, err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		b.Fatal(err)
	}
	s, err := secret.NewSealer(keys)
	if err != nil {
		b.Fatal(err)
	}
	sealed, err := s.Seal(connectors.NewSecret(strings.Repeat("t", 200)), place)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(sealed, place); err != nil {
			b.Fatal(err)
		}
	}
}
