package oauthaccounttest_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/oauthaccount/oauthaccounttest"
)

// rig passes time by what it adds to all that is stored, seen from now.
type rig struct {
	*oauthaccounttest.Memory
	passed *atomic.Int64
	told   map[uuid.UUID][]oauthaccounttest.Told
}

func (r rig) Connect(n oauthaccount.New) uuid.UUID { return r.Memory.Connect(n, "user-1") }
func (r rig) Disconnect(id uuid.UUID)              { r.Disconnecting(id) }
func (r rig) Pass(d time.Duration)                 { r.passed.Add(int64(d)) }

// Told is what was told so far.
func (r rig) Told(id uuid.UUID) []oauthaccounttest.Told { return r.told[id] }

func (r rig) Row(id uuid.UUID) oauthaccounttest.Row {
	row := r.Memory.Row(id)
	for _, t := range []*time.Time{&row.ExpiresAt, &row.GrantEndsAt, &row.RefreshAfter, &row.LeaseUntil, &row.SendBy, &row.QuietAt, &row.FailedAt} {
		if !t.IsZero() {
			*t = t.Add(-time.Duration(r.passed.Load()))
		}
	}
	return row
}

func TestTheStoreInMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	oauthaccounttest.Contract(t, func(*testing.T) oauthaccounttest.Rig {
		r := rig{passed: &atomic.Int64{}, told: map[uuid.UUID][]oauthaccounttest.Told{}}
		r.Memory = oauthaccounttest.NewMemory(oauthaccounttest.MemoryConfig{
			Now:  func() time.Time { return time.Now().Add(time.Duration(r.passed.Load())) },
			Tell: func(id uuid.UUID, e oauthaccounttest.Told) { r.told[id] = append(r.told[id], e) },
		})
		return r
	})
}
