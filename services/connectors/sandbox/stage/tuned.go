package stage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
)

// Tuned holds how a stand-in behaves, and makes it Tunable where it is embedded.
type Tuned[B interface{ Check() error }] struct {
	mu  sync.Mutex // one tuning after the other
	now atomic.Pointer[B]
}

// Now returns the present behavior.
func (t *Tuned[B]) Now() B { return *t.now.Load() }

// Set replaces the behavior.
func (t *Tuned[B]) Set(b B) { t.now.Store(&b) }

// Behavior is Now, to be shown as JSON.
func (t *Tuned[B]) Behavior() any { return t.Now() }

// Tune changes the fields that the JSON object names, if the whole makes sense.
func (t *Tuned[B]) Tune(data []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.Now()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return fmt.Errorf("read behavior: %w", err)
	}
	if err := b.Check(); err != nil {
		return err
	}
	t.Set(b)
	return nil
}
