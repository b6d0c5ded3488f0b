package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// stateVersion is raised when an older file cannot be read any more.
const stateVersion = 1

// state is the file's content.
type state struct {
	Version   int                        `json:"version"`
	Stage     stage.Kept                 `json:"stage"`
	Providers map[string]json.RawMessage `json:"providers"`
}

// keeping is a state file being kept up to date.
type keeping struct {
	path string
	mu   sync.Mutex // one writing after the other
	done chan struct{}
	once sync.Once
	wait sync.WaitGroup
}

// load takes up the state of an earlier process, where there is one.
func (s *Sandbox) load(path string) error {
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	var st state
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("the sandbox's state in %s is damaged (%w): move it away to begin with an empty sandbox", path, err)
	}
	if st.Version != stateVersion {
		return fmt.Errorf("the sandbox's state in %s is of version %d, and this program reads %d: move it away to begin with an empty sandbox",
			path, st.Version, stateVersion)
	}
	if err := s.restore(st); err != nil {
		return fmt.Errorf("the sandbox's state in %s does not fit (%w): move it away to begin with an empty sandbox", path, err)
	}
	return nil
}

func (s *Sandbox) restore(st state) error {
	if err := s.stage.Restore(st.Stage); err != nil {
		return err
	}
	for name, raw := range st.Providers {
		k, ok := s.provider(name).(stage.Keeper)
		if !ok {
			return fmt.Errorf("no provider %q", name)
		}
		if err := k.Restore(raw); err != nil {
			return err
		}
	}
	return nil
}

// lives: an earlier process knew the account. Its first token, which works from
// the start, is made anew when its time is over, and not when it was taken away.
func (s *Sandbox) lives(spec stage.Account) bool {
	a, known := s.stage.Accounts.Find(spec.Provider, spec.Username)
	if !known {
		return false
	}
	t, ok := s.stage.Accounts.Token(spec.Provider, a.Token)
	return ok && (t.Dead != nil || !t.Expired())
}

// keep writes the state, now and while the sandbox runs.
func (s *Sandbox) keep(path string) error {
	if path == "" {
		return nil
	}
	s.keeping = &keeping{path: path, done: make(chan struct{})}
	written := s.stage.Changes()
	if err := s.Save(); err != nil {
		return err
	}
	s.keeping.wait.Go(func() { s.keepUp(written) })
	return nil
}

// keepUp writes half a second after a change, and less often where that takes
// long.
func (s *Sandbox) keepUp(written int64) {
	const often = 500 * time.Millisecond
	for pause := often; s.keeping.sleep(pause); {
		changes := s.stage.Changes()
		if changes == written {
			continue
		}
		start := time.Now()
		if err := s.Save(); err != nil {
			s.stage.Logger.Error("write state", "error", err)
		}
		written, pause = changes, max(often, 10*time.Since(start))
	}
}

func (k *keeping) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.done:
		return false
	}
}

// stop ends the writing; a nil keeping has none.
func (k *keeping) stop() {
	if k == nil {
		return
	}
	k.once.Do(func() { close(k.done) })
	k.wait.Wait()
}

// Save writes the state now; without Config.StatePath it does nothing.
func (s *Sandbox) Save() error {
	if s.keeping == nil {
		return nil
	}
	s.keeping.mu.Lock()
	defer s.keeping.mu.Unlock()
	raw, err := s.snapshot()
	if err == nil {
		err = replace(s.keeping.path, raw)
	}
	if err != nil {
		return fmt.Errorf("write the sandbox's state: %w", err)
	}
	return nil
}

// snapshot is the state at one moment: no provider changes anything meanwhile.
func (s *Sandbox) snapshot() ([]byte, error) {
	st := state{Version: stateVersion, Providers: map[string]json.RawMessage{}}
	keepers := map[string]stage.Keeper{}
	for _, p := range s.providers {
		if k, ok := p.(stage.Keeper); ok {
			k.Lock()
			defer k.Unlock()
			keepers[p.Name()] = k
		}
	}
	for name, k := range keepers {
		raw, err := k.Keep()
		if err != nil {
			return nil, err
		}
		st.Providers[name] = raw
	}
	st.Stage = s.stage.Keep()
	return json.Marshal(st)
}

// replace puts a new file in the place of the old one. Who reads it sees the one
// or the other, whole.
func replace(path string, content []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) // tokens are in it
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
