package secret_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postbus.dev/services/internal/secret"
)

func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyset.json")
	if err := (secret.Keyset{Path: path}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAKeysetFileSealsAcrossRestarts(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	var sealed []byte
	for start := range 2 {
		s, err := secret.LoadSealer(secret.Keyset{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if start == 0 {
			sealed = seal(t, s)
		}
		if got, err := s.Open(sealed, place); err != nil || got.Reveal() != token {
			t.Errorf("start %d: %v", start, err)
		}
	}
}

func TestANewKeysetFileIsPrivateAndNeverReplacesOne(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := (secret.Keyset{Path: path}).Create(t.Context()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second keyset: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(before) != string(after) {
		t.Error("the keyset that was there has changed")
	}
}

func TestAKeysetFileThatOthersMayReadIsRefused(t *testing.T) {
	t.Parallel()
	for mode, ok := range map[fs.FileMode]bool{
		0o600: true, 0o400: true,
		0o640: false, 0o604: false, 0o620: false, 0o602: false, 0o601: false, 0o644: false,
	} {
		path := newFile(t)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := secret.LoadSealer(secret.Keyset{Path: path})
		if (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if !ok && !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
}

func TestWhatIsNoKeysetIsRefusedWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	value := regexp.MustCompile(`"value": *"([^"]+)"`).FindSubmatch(good)
	if value == nil {
		t.Fatal("no key in the keyset file")
	}
	key := string(value[1])
	for name, text := range map[string]string{
		"nothing":         "",
		"not JSON":        "hello",
		"an empty keyset": "{}",
		"broken base64":   strings.Replace(string(good), key, key[:len(key)-3]+"!", 1),
		"cut off":         string(good[:len(good)-5]),
		"a stray field":   strings.Replace(string(good), `"primaryKeyId"`, `"`+key+`"`, 1),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := secret.LoadSealer(secret.Keyset{Path: path})
		if err == nil {
			t.Errorf("%s: taken for a keyset", name)
			continue
		}
		if strings.Contains(err.Error(), key[:8]) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAMissingKeysetFileIsSaid(t *testing.T) {
	t.Parallel()
	_, err := secret.LoadSealer(secret.Keyset{Path: filepath.Join(t.TempDir(), "none.json")})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := secret.LoadSealer(secret.Keyset{Path: t.TempDir()}); err == nil {
		t.Error("a directory was read as a keyset")
	}
}
