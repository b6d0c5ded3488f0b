package secret

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"postbus.dev/services/connectors"
)

// Stale is how long a process may go on sealing with a key that is not the
// primary any more after the keyset's file was changed. It opens what a new key
// sealed at once.
const Stale = 5 * time.Second

// Sealer seals and opens secrets with a keyset. It reads a keyset's file again
// when that was changed, so that keys rotate while processes run. It is safe for
// concurrent use.
type Sealer struct {
	file Keyset // Path "" where the keyset came from elsewhere

	mu     sync.Mutex
	looked time.Time // when the file was looked at last
	failed time.Time // when it could not be read last
	broken error     // why; nil since it could
	state
}

// keys is one state of the keyset.
type keys struct {
	aead    tink.AEAD
	primary uint32
	ids     map[uint32]bool
}

// LoadSealer returns a Sealer over the keyset in a file.
func LoadSealer(file Keyset) (*Sealer, error) {
	found, err := file.look()
	if err != nil {
		return nil, err
	}
	return &Sealer{file: file, looked: time.Now(), state: found}, nil
}

// NewSealer returns a Sealer over an AEAD keyset, wherever that came from.
func NewSealer(handle *keyset.Handle) (*Sealer, error) {
	k, err := keysOf(handle)
	if err != nil {
		return nil, fmt.Errorf("make sealer: %w", err)
	}
	return &Sealer{state: state{keys: k}}, nil
}

func keysOf(handle *keyset.Handle) (keys, error) {
	if handle == nil {
		return keys{}, errors.New("no keyset")
	}
	a, err := aead.New(handle)
	if err != nil {
		return keys{}, err
	}
	k := keys{aead: a, ids: map[uint32]bool{}}
	for i := range handle.Len() {
		e, err := handle.Entry(i)
		if err != nil {
			return keys{}, err
		}
		k.ids[e.KeyID()] = true
		if e.IsPrimary() {
			k.primary = e.KeyID()
		}
	}
	return k, nil
}

// state is what one look at the file found.
type state struct {
	keys keys
	info fs.FileInfo
}

// unchanged says whether info is of the file that was read. A file that was
// replaced within the clock's tick is another one.
func (s state) unchanged(info fs.FileInfo) bool {
	return os.SameFile(info, s.info) && info.ModTime().Equal(s.info.ModTime()) && info.Size() == s.info.Size()
}

// look reads the file. What it is is asked before: what changes in between is
// read once more. It is read for all who seal, and no caller's context ends it.
//
//nolint:contextcheck // see above
func (k Keyset) look() (state, error) {
	info, err := os.Stat(k.Path)
	if err != nil {
		return state{}, fmt.Errorf("load keyset: %w", err)
	}
	handle, err := k.Read(context.Background())
	if err != nil {
		return state{}, err
	}
	found, err := keysOf(handle)
	if err != nil {
		return state{}, fmt.Errorf("load keyset: %s: %w", k.Path, err)
	}
	return state{found, info}, nil
}

// current returns the keys, read again where the file has changed since it was
// last looked at, longer ago than maxAge. Meanwhile others go on with the keys
// that there are: a key management service may be slow. A file that cannot be
// read changes nothing: who needs what is not there says so.
func (s *Sealer) current(maxAge time.Duration) keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file.Path == "" || time.Since(s.looked) < maxAge {
		return s.keys
	}
	s.looked = time.Now()
	info, err := os.Stat(s.file.Path)
	if err == nil && !s.unchanged(info) && time.Since(s.failed) < time.Second {
		return s.keys
	}
	if err != nil || s.unchanged(info) {
		s.broken = err
		return s.keys
	}
	s.mu.Unlock()
	found, err := s.file.look()
	s.mu.Lock()
	if s.broken = err; err != nil {
		s.failed = time.Now() // the next one asks in a second, not each at once
		return s.keys
	}
	s.state = found
	return s.keys
}

// Check looks at the file, and says why the keys that it holds now are not known.
// Until they are, the keys of before seal.
func (s *Sealer) Check() error {
	_ = s.current(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// knowing returns keys that include the one that sealed, if the file has it.
func (s *Sealer) knowing(sealed []byte) keys {
	k := s.current(Stale)
	if id, ok := sealedBy(sealed); ok && !k.ids[id] {
		return s.current(0)
	}
	return k
}

// sealedBy reads the key's id from what Tink writes before a ciphertext.
func sealedBy(sealed []byte) (uint32, bool) {
	if len(sealed) < prefixLength || sealed[0] != tinkPrefix {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:]), true
}

const (
	tinkPrefix   = 1
	prefixLength = 5
)

// Prefix is how everything begins that the primary key seals: what does not
// begin so was sealed by another key.
func (s *Sealer) Prefix() []byte {
	return prefixOf(s.current(0).primary)
}

func prefixOf(key uint32) []byte { return binary.BigEndian.AppendUint32([]byte{tinkPrefix}, key) }

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
	sealed, err := s.current(Stale).aead.Encrypt([]byte(plain.Reveal()), bound)
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
	plain, err := s.knowing(sealed).aead.Decrypt(sealed, bound)
	if err != nil { // Tink says no more than that it failed
		return connectors.Secret{}, fmt.Errorf("open %s.%s: %w", ad.Table, ad.Column, ErrNotOpened)
	}
	return connectors.NewSecret(string(plain)), nil
}
