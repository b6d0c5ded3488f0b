package secret

import (
	"errors"
	"fmt"
	"os"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// LoadKeyset reads a Tink keyset in clear JSON from a file that nobody but its
// owner can read (mode 0600 or stricter).
func LoadKeyset(path string) (*keyset.Handle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load keyset: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if err := private(f); err != nil {
		return nil, fmt.Errorf("load keyset: %w", err)
	}
	keys, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(f))
	if err != nil { // not wrapped: the JSON decoder quotes what it cannot read, which may be a key
		return nil, fmt.Errorf("load keyset: %s is not a Tink keyset in JSON", path)
	}
	return keys, nil
}

// LoadSealer returns a Sealer over the keyset in a file (see LoadKeyset).
func LoadSealer(path string) (*Sealer, error) {
	keys, err := LoadKeyset(path)
	if err != nil {
		return nil, err
	}
	return NewSealer(keys)
}

// private asks the open file, not the path: what was checked is what is read.
func private(f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", f.Name())
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s may be read by others (mode %04o): chmod 600 it", f.Name(), info.Mode().Perm())
	}
	return nil
}

// NewKeysetFile makes a keyset of one AES-256-GCM key and writes it to path
// with mode 0600. A file that exists stays as it is and is an error that
// matches fs.ErrExist. It is meant for the local system: in production the
// keyset comes from whoever keeps the keys.
func NewKeysetFile(path string) error {
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	err = insecurecleartextkeyset.Write(keys, keyset.NewJSONWriter(f))
	// Synced before anything is sealed with it: a key that a power cut takes
	// takes every token with it.
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("make keyset: %w", err), os.Remove(path))
	}
	return nil
}
