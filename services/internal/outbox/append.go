package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
)

// MaxEventBytes bounds an event in its stored form. A NATS message with its
// headers has to stay below the server's max_payload (1 MiB unless configured);
// an event that could never be sent must not get into the outbox, where it
// would stop all that come after it.
const MaxEventBytes = 512 << 10

// ErrUnsendable marks an event that Append refuses: too large, invalid, or of
// a type that no stream keeps.
var ErrUnsendable = errors.New("event cannot be sent")

// Columns are what an INSERT INTO outbox names when it is part of a grouped
// statement: service (a constant), and from Rows ids (uuid[]), streams (text[]),
// subjects (text[]) and bodies (bytea[]). All other columns have defaults that
// the relay depends on.
const Columns = "(service, id, stream, subject, event)"

// Insert is the whole statement for rows that depend on nothing: $1 service,
// $2 to $5 as Rows returns them.
const Insert = `INSERT INTO outbox ` + Columns + `
SELECT $1::text, u.id, u.stream, u.subject, u.event
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[]) AS u (id, stream, subject, event)`

// Append writes evs in tx, to be relayed by the given service in this order.
func Append(ctx context.Context, tx pgx.Tx, service string, evs ...event.Event) error {
	ids, streams, subjects, bodies, err := Rows(evs)
	if err != nil {
		return fmt.Errorf("append to outbox: %w", err)
	}
	if _, err := tx.Exec(ctx, Insert, service, ids, streams, subjects, bodies); err != nil {
		return fmt.Errorf("append to outbox: %w", err)
	}
	return nil
}

// Rows turns events into the columns of Columns, row i for event i. It returns
// ErrUnsendable, naming the event, if one of them could never be sent.
func Rows(evs []event.Event) (ids [][16]byte, streams, subjects []string, bodies [][]byte, err error) {
	ids = make([][16]byte, len(evs))
	streams, subjects = make([]string, len(evs)), make([]string, len(evs))
	bodies = make([][]byte, len(evs))
	var last uuid.UUID
	for i, e := range evs {
		subjects[i] = e.Type()
		if streams[i], bodies[i], err = row(e); err != nil {
			return nil, nil, nil, nil, err
		}
		if last, err = rowID(e, last, time.Now()); err != nil {
			return nil, nil, nil, nil, err
		}
		ids[i] = last
	}
	return ids, streams, subjects, bodies, nil
}

func row(e event.Event) (stream string, body []byte, err error) {
	stream = streamOf(e.Type())
	if stream == "" {
		return "", nil, fmt.Errorf("%w: no stream keeps type %q", ErrUnsendable, e.Type())
	}
	body, err = events.MarshalJSON(e)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %s %s: %w", ErrUnsendable, e.Type(), e.ID(), err)
	}
	if len(body) > MaxEventBytes {
		return "", nil, fmt.Errorf("%w: %s %s has %d bytes, more than %d", ErrUnsendable, e.Type(), e.ID(), len(body), MaxEventBytes)
	}
	return stream, body, nil
}

// streamOf is the stream that keeps an event type; dead letters have no place
// in an outbox. A test holds it to the declared topology.
func streamOf(eventType string) string {
	domain, name, _ := strings.Cut(eventType, ".")
	switch {
	case name == "":
		return ""
	case domain == "publish":
		return events.StreamPublish
	case domain == "account", domain == "token":
		return events.StreamAccount
	}
	return ""
}

// rowID is the event's own id where that keeps the order: a UUIDv7 that is not
// from the future and comes after the row before it. A request over HTTP has
// its client's Idempotency-Key as id, which promises neither.
func rowID(e event.Event, last uuid.UUID, now time.Time) (uuid.UUID, error) {
	id, err := uuid.Parse(e.ID())
	if err == nil && id.Version() == 7 && !madeAfter(id, now) && follows(id, last) {
		return id, nil
	}
	for {
		if id, err = uuid.NewV7(); err != nil {
			return uuid.Nil, fmt.Errorf("make outbox row id: %w", err)
		}
		if follows(id, last) { // at the latest in the next millisecond
			return id, nil
		}
	}
}

func follows(id, last uuid.UUID) bool { return bytes.Compare(id[:], last[:]) > 0 }

func madeAfter(id uuid.UUID, now time.Time) bool {
	sec, nsec := id.Time().UnixTime()
	return time.Unix(sec, nsec).After(now)
}
