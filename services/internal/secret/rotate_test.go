package secret_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postbus.dev/services/internal/secret"
)

func load(t *testing.T, file secret.Keyset) *secret.Sealer {
	t.Helper()
	s, err := secret.LoadSealer(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opens(t *testing.T, s *secret.Sealer, sealed []byte) {
	t.Helper()
	if got, err := s.Open(sealed, place); err != nil || got.Reveal() != token {
		t.Error(err)
	}
}

// rotate adds a key and makes it seal.
func rotate(t *testing.T, file secret.Keyset) {
	t.Helper()
	added, err := file.Add(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if promoted, err := file.Promote(t.Context()); err != nil || promoted != added {
		t.Fatalf("promoted %d, added %d: %v", promoted, added, err)
	}
}

func TestARunningProcessOpensWhatANewKeySealedAtOnce(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	running := load(t, file)
	old := seal(t, running)
	for range 2 {
		rotate(t, file)
		opens(t, running, seal(t, load(t, file)))
		opens(t, running, old)
	}
}

func TestOfSeveralKeysTheNewestSealsOnceItIsPromoted(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	before := load(t, file).Prefix()
	if _, err := file.Promote(t.Context()); err == nil {
		t.Error("the key that seals was promoted")
	}
	if _, err := file.Add(t.Context()); err != nil {
		t.Fatal(err)
	}
	added := load(t, file)
	if !bytes.HasPrefix(seal(t, added), before) {
		t.Error("a key that was only added seals")
	}
	if _, err := file.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := added.Prefix(); bytes.Equal(after, before) || !bytes.HasPrefix(seal(t, added), after) {
		t.Error("the promoted key does not seal")
	}
}

func TestPruningLeavesTheKeyThatSeals(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	first := seal(t, load(t, file))
	rotate(t, file)
	current := load(t, file)
	second := seal(t, current)
	retire := func(stays []byte, old [][]byte) error {
		if len(old) != 1 || !bytes.HasPrefix(first, old[0]) || !bytes.HasPrefix(second, stays) {
			t.Errorf("retired %x, stays %x", old, stays)
		}
		opens(t, load(t, file), first)
		return nil
	}
	if n, err := file.Prune(t.Context(), retire); n != 1 || err != nil {
		t.Errorf("%d keys removed: %v", n, err)
	}
	pruned := load(t, file)
	opens(t, pruned, second)
	if _, err := pruned.Open(first, place); !errors.Is(err, secret.ErrNotOpened) {
		t.Errorf("a key that was removed opens: %v", err)
	}
	if info, err := os.Stat(file.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file.Path), ".keyset-*")); len(left) > 0 || err != nil {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestNoKeyIsRemovedThatIsNotRetiredAndNoneIsAddedMeanwhile(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	sealed := seal(t, load(t, file))
	rotate(t, file)
	left := errors.New("something is left")
	_, err := file.Prune(t.Context(), func([]byte, [][]byte) error {
		if _, err := file.Promote(t.Context()); err == nil || !strings.Contains(err.Error(), "try again") {
			t.Errorf("rotated in the midst of it: %v", err)
		}
		return left
	})
	if !errors.Is(err, left) {
		t.Error(err)
	}
	opens(t, load(t, file), sealed)
}

func TestAProcessThatCannotReadTheKeysetAnyMoreSaysSo(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	running := load(t, file)
	fine := func(what string, want bool) {
		t.Helper()
		if err := running.Check(); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	fine("unchanged", true)
	rotate(t, file)
	fine("rotated", true)
	if _, err := file.Add(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file.Path, 0o644); err != nil { // which no keyset may have
		t.Fatal(err)
	}
	fine("unreadable", false)
	fine("unreadable, asked again at once", false)
	opens(t, running, seal(t, running))
	if err := os.Chmod(file.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); running.Check() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("readable again, and not noticed")
		}
	}
	if err := os.Remove(file.Path); err != nil {
		t.Fatal(err)
	}
	fine("gone", false)
}

func TestOfCommandsAtTheSameMomentNoneTakesBackWhatAnotherDid(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	var added atomic.Int64
	var commands sync.WaitGroup
	for range 8 {
		commands.Go(func() {
			for range 10 {
				if _, err := file.Add(t.Context()); err == nil {
					added.Add(1)
				} else if !strings.Contains(err.Error(), "try again") {
					t.Error(err)
				}
			}
		})
	}
	commands.Wait()
	keys, err := file.Read(t.Context())
	if err != nil || int64(keys.Len()) != 1+added.Load() || added.Load() == 0 {
		t.Errorf("%d keys after %d were added: %v", keys.Len(), added.Load(), err)
	}
}

func TestAKeysetStaysThatOfTheUserWhoReadsIt(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const service = 54321
	file := secret.Keyset{Path: newFile(t)}
	if err := os.Chown(file.Path, service, service); err != nil {
		t.Fatal(err)
	}
	rotate(t, file)
	info, err := os.Stat(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != service || owner.Gid != service || info.Mode().Perm() != 0o600 {
		t.Errorf("it is of %d:%d, mode %v", owner.Uid, owner.Gid, info.Mode())
	}
}

func TestKeysRotateUnderReaders(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	running := load(t, file)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				opens(t, running, seal(t, running))
			}
		})
	}
	for range 5 {
		rotate(t, file)
		opens(t, load(t, file), seal(t, running))
	}
	close(stop)
	readers.Wait()
}

func TestAKeysetThatIsGoneTakesNothingFromARunningProcess(t *testing.T) {
	t.Parallel()
	file := secret.Keyset{Path: newFile(t)}
	running := load(t, file)
	sealed := seal(t, running)
	if err := os.Remove(file.Path); err != nil {
		t.Fatal(err)
	}
	opens(t, running, sealed)
	_ = running.Prefix() // looks at the file
	opens(t, running, seal(t, running))
}

func TestAKeysetOfAnUnknownServiceIsRefused(t *testing.T) {
	t.Parallel()
	_, err := secret.LoadSealer(secret.Keyset{Path: newFile(t), KMS: "gcp-kms://projects/p/key"})
	if err == nil || !strings.Contains(err.Error(), "hcvault://") {
		t.Error(err)
	}
}
