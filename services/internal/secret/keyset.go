package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset is a file with a Tink keyset in JSON.
type Keyset struct {
	Path string
	// KMS is the URI of the key that the file is encrypted with, at a key
	// management service: hcvault://host:port/transit/keys/name (address by https;
	// VAULT_TOKEN, VAULT_CACERT and the like are read from the environment) or
	// aws-kms://arn:aws:kms:... (with the AWS SDK's usual settings). "": the file is
	// in clear, and nobody but its owner may read it (mode 0600 or stricter).
	KMS string
}

// kmsLimit bounds a call to the key management service.
const kmsLimit = 15 * time.Second

// Read returns the keys. Its errors hold none.
func (k Keyset) Read(ctx context.Context) (*keyset.Handle, error) {
	keys, err := k.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("load keyset: %w", err)
	}
	return keys, nil
}

func (k Keyset) read(ctx context.Context) (*keyset.Handle, error) {
	f, err := os.Open(k.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if k.KMS != "" {
		return k.readSealed(ctx, f)
	}
	if err := private(f); err != nil {
		return nil, err
	}
	keys, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(f))
	if err != nil { // not wrapped: the JSON decoder quotes what it cannot read, which may be a key
		return nil, fmt.Errorf("%s is not a Tink keyset in JSON; one that is encrypted needs POSTBUS_KEYSET_KMS", k.Path)
	}
	return keys, nil
}

func (k Keyset) readSealed(ctx context.Context, f *os.File) (*keyset.Handle, error) {
	return withKey(ctx, k.KMS, func(key tink.AEAD) (*keyset.Handle, error) {
		keys, err := keyset.Read(keyset.NewJSONReader(f), key)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be opened with %s: %w", k.Path, k.KMS, err)
		}
		return keys, nil
	})
}

// write replaces the file at once and for good: whoever reads it meanwhile gets
// the old keys or the new ones, and a key that a power cut takes takes every
// token with it. With fresh set, a file that exists is an error that matches
// fs.ErrExist.
func (k Keyset) write(ctx context.Context, keys *keyset.Handle, fresh bool) error {
	body, err := k.encode(ctx, keys)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(k.Path), ".keyset-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it was renamed, or is of no use
	if !fresh {
		err = sameOwner(f, k.Path)
	}
	if err == nil {
		_, err = f.Write(body)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if fresh {
		err = os.Link(f.Name(), k.Path) // refuses to replace a file
	} else {
		err = os.Rename(f.Name(), k.Path)
	}
	return errors.Join(err, syncDir(filepath.Dir(k.Path)))
}

func (k Keyset) encode(ctx context.Context, keys *keyset.Handle) ([]byte, error) {
	var b bytes.Buffer
	if k.KMS == "" {
		err := insecurecleartextkeyset.Write(keys, keyset.NewJSONWriter(&b))
		return b.Bytes(), err
	}
	return withKey(ctx, k.KMS, func(key tink.AEAD) ([]byte, error) {
		err := keys.Write(keyset.NewJSONWriter(&b), key)
		return b.Bytes(), err
	})
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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

// Create makes a keyset of one AES-256-GCM key. A file that exists stays as it
// is and is an error that matches fs.ErrExist.
func (k Keyset) Create(ctx context.Context) error {
	if _, err := os.Lstat(k.Path); err == nil {
		return fmt.Errorf("make keyset: %s: %w", k.Path, fs.ErrExist)
	}
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = k.write(ctx, keys, true)
	}
	if err != nil {
		return fmt.Errorf("make keyset: %w", err)
	}
	return nil
}

// Add puts a new key into the file, which opens and does not seal yet, and
// returns its id. Where processes read copies of the file, it comes to all of
// them before Promote: one that meets a token of a key that it lacks cannot open
// it.
func (k Keyset) Add(ctx context.Context) (id uint32, err error) {
	err = k.change(ctx, "add a key to keyset", func(m *keyset.Manager, _ *keyset.Handle) error {
		id, err = m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
	return id, err
}

// Promote makes the newest key seal, and returns its id.
func (k Keyset) Promote(ctx context.Context) (id uint32, err error) {
	err = k.change(ctx, "promote a key of keyset", func(m *keyset.Manager, keys *keyset.Handle) error {
		newest, err := keys.Entry(keys.Len() - 1)
		if err != nil {
			return err
		}
		if newest.IsPrimary() {
			return errors.New("the newest key seals already: add one first")
		}
		id = newest.KeyID()
		return m.SetPrimary(id)
	})
	return id, err
}

// Prune removes every key but the one that seals, and returns how many there
// were. What they sealed does not open any more: first retire is told how
// everything begins that the key seals which stays, and that those seal which go
// (Sealer.Prefix). It sees to it that nothing is left that they sealed, or will
// be: a process that cannot read the file goes on sealing with them. Its error
// leaves all keys where they are. Nobody else changes the file meanwhile.
func (k Keyset) Prune(ctx context.Context, retire func(stays []byte, old [][]byte) error) (removed int, err error) {
	err = k.change(ctx, "prune keyset", func(m *keyset.Manager, keys *keyset.Handle) error {
		var stays []byte
		var old [][]byte
		for i := range keys.Len() {
			e, err := keys.Entry(i)
			switch {
			case err != nil:
				return err
			case e.IsPrimary():
				stays = prefixOf(e.KeyID())
				continue
			}
			if err := m.Delete(e.KeyID()); err != nil {
				return err
			}
			old = append(old, prefixOf(e.KeyID()))
		}
		removed = len(old)
		return retire(stays, old)
	})
	return removed, err
}

// change keeps others out: what two wrote at once would be one's keys, and the
// other's are lost, with what they have sealed by then.
func (k Keyset) change(ctx context.Context, what string, f func(*keyset.Manager, *keyset.Handle) error) error {
	unlock, err := lock(filepath.Dir(k.Path))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer unlock()
	keys, err := k.read(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	m := keyset.NewManagerFromHandle(keys)
	err = f(m, keys)
	if err == nil {
		keys, err = m.Handle()
	}
	if err == nil {
		err = k.write(ctx, keys, false)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
