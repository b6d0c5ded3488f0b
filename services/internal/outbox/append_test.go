package outbox_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/outbox"
)

func TestARolledBackTransactionLeavesNoEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.Append(t.Context(), tx, service, notified(t, 1)...); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := notified(t, 1)
	b.append(kept...)
	b.relay(outbox.RelayConfig{})
	b.holds(events.StreamPublish, kept...)
}

func TestAnEventThatCouldNeverBeSentIsRefused(t *testing.T) {
	t.Parallel()
	large := notified(t, 1)[0]
	large.DataEncoded = []byte(`"` + strings.Repeat("x", outbox.MaxEventBytes) + `"`)
	homeless := notified(t, 1)[0]
	homeless.SetType("deadletter.publish.requested")
	for name, e := range map[string]event.Event{"too large": large, "no stream": homeless, "empty": {}} {
		if _, _, _, _, err := outbox.Rows([]event.Event{notified(t, 1)[0], e}); !errors.Is(err, outbox.ErrUnsendable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLargestEventThatIsTakenCanBeSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := notified(t, 1)[0]
	e.DataEncoded = []byte(`"` + strings.Repeat("x", outbox.MaxEventBytes-1000) + `"`)
	b.append(e)
	b.relay(outbox.RelayConfig{})
	b.holds(events.StreamPublish, e)
}

func TestRowIDsAscendInTheOrderOfTheEventsWhateverTheirIDs(t *testing.T) {
	t.Parallel()
	evs := notified(t, 8)
	evs[1].SetID("an idempotency key")
	evs[3].SetID(uuid.Max.String())
	evs[4].SetID(uuid.NewString()) // version 4
	evs[5].SetID("01890000-0000-7000-8000-000000000000")
	evs[6].SetID(future(t))
	rows, _, _, _, err := outbox.Rows(evs)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(rows); i++ {
		if bytes.Compare(rows[i-1][:], rows[i][:]) >= 0 {
			t.Errorf("row %d has id %s after %s", i, uuid.UUID(rows[i]), uuid.UUID(rows[i-1]))
		}
	}
	if uuid.UUID(rows[0]).String() != evs[0].ID() {
		t.Errorf("row id %s is not the event's own %s", uuid.UUID(rows[0]), evs[0].ID())
	}
}

// future is a UUIDv7 of tomorrow, as a client could make one.
func future(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	ms := time.Now().Add(24 * time.Hour).UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id.String()
}

// Every declared subject except those of dead letters has its stream.
func TestEventTypesGoToTheStreamThatDeclaresThem(t *testing.T) {
	t.Parallel()
	for _, s := range events.Topology(events.TopologyOptions{}) {
		for _, subject := range s.Subjects {
			e := notified(t, 1)[0]
			e.SetType(strings.TrimSuffix(subject, ">") + "something")
			e.SetDataSchema(events.SchemaURI(e.Type(), events.Version1))
			_, streams, subjects, _, err := outbox.Rows([]event.Event{e})
			switch {
			case s.Name == events.StreamDeadLetter:
				if err == nil {
					t.Errorf("a dead letter was taken")
				}
			case err != nil || streams[0] != s.Name || subjects[0] != e.Type():
				t.Errorf("%s goes to %v as %v: %v", e.Type(), streams, subjects, err)
			}
		}
	}
}

func TestAGroupedStatementCarriesTheRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	evs := append(notified(t, 3), refreshes(t, 2)...)
	ids, streams, subjects, bodies, err := outbox.Rows(evs)
	if err != nil {
		t.Fatal(err)
	}
	const grouped = `WITH moved AS (SELECT unnest($1::uuid[]) AS id)
INSERT INTO outbox ` + outbox.Columns + `
SELECT 'publisher', u.id, u.stream, u.subject, u.event
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) AS u (id, stream, subject, event) JOIN moved USING (id)`
	if _, err := b.pool.Exec(t.Context(), grouped, ids, streams, subjects, bodies); err != nil {
		t.Fatal(err)
	}
	b.relay(outbox.RelayConfig{})
	b.holds(events.StreamPublish, evs[:3]...)
	b.holds(events.StreamAccount, evs[3:]...)
}

func TestAnEventArrivesByteForByte(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := notified(t, 1)[0]
	e.DataEncoded = []byte("{\"b\" : 1.0,\n \"a\":\"\\u00e4 ä\"}")
	b.append(e)
	b.relay(outbox.RelayConfig{})
	b.holds(events.StreamPublish, e)
	if got := b.stored(events.StreamPublish)[0]; !bytes.Equal(got.Data(), e.Data()) || got.String() != e.String() {
		t.Fatalf("got %s\nwant %s", got, e)
	}
}
