package job

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/internal/postgres/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bench is one database and the stores of two processes on it.
type bench struct {
	t          *testing.T
	owner      string // DSN of the database's owner
	pool       *pgxpool.Pool
	a, b       *Store
	accountID  uuid.UUID
	shortLease time.Duration
}

func setup(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	owner := testbed.Database(t)
	pool := postgrestest.Open(t, testbed.As(owner, migrations.RolePublisher))
	b := &bench{t: t, owner: owner, pool: pool, accountID: uuid.Must(uuid.NewV7()), shortLease: 300 * time.Millisecond}
	b.a, b.b = b.store(20*time.Second), b.store(20*time.Second)
	return b
}

func (b *bench) store(lease time.Duration) *Store {
	b.t.Helper()
	s, err := NewStore(Config{Pool: b.pool, Owner: uuid.New(), Lease: lease})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.Close)
	return s
}

// request is a new publish of the bench's account, due now.
func (b *bench) request() *New {
	sum := make([]byte, 32)
	id := uuid.New()
	return &New{Want: true, Publish: Publish{
		ID: id, EventSource: "/test", EventID: id.String(), AccountID: b.accountID, UserID: uuid.New(), Provider: "instagram", MediaType: "IMAGE",
		Request: []byte(`{}`), RequestSum: sum, ContentSum: sum, State: Accepted, Version: 1,
	}}
}

func (b *bench) stored(s *Store, n *New) Taken {
	b.t.Helper()
	taken, err := s.Store(b.t.Context(), n)
	if err != nil {
		b.t.Fatal(err)
	}
	return taken
}

// arm is the transition that arms p under the fence.
func arm(p Publish, fence int64) *Transition {
	tr := &Transition{Publish: p, Lane: Arm, Fence: fence, HasNext: true, SendIn: time.Second, Settle: 2 * time.Second}
	tr.Publish.State = Armed
	tr.Publish.Attempt++
	return tr
}

func (b *bench) write(s *Store, tr *Transition) Written {
	b.t.Helper()
	w, err := s.Write(context.WithoutCancel(b.t.Context()), tr)
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}
