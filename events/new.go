package events

import (
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
)

// The extension attributes that our events carry.
const (
	ExtPartitionKey  = "partitionkey"  // account id: what is ordered together
	ExtSequence      = "sequence"      // version of the aggregate, 20 digits
	ExtTraceParent   = "traceparent"   // trace context of the first producer
	ExtTraceState    = "tracestate"    // the same
	ExtCorrelationID = "correlationid" // publish id
	ExtCausationID   = "causationid"   // id of the event that caused this one
)

// Meta is what an event says beside its data. Source is required; "" and zero
// leave an attribute out, except that an empty ID becomes a new UUIDv7 and a
// zero Time becomes now.
type Meta struct {
	ID            string
	Source        string // such as /postbus/publisher
	Subject       string // publish id or account id
	Time          time.Time
	PartitionKey  string
	Sequence      int64
	TraceParent   string
	TraceState    string
	CorrelationID string
	CausationID   string
}

// New makes the event of d. Its error is a *ValidationError when d is invalid and
// a *MalformedError when m is.
func New(m Meta, d Data) (event.Event, error) {
	if err := d.Validate(); err != nil {
		return event.Event{}, err
	}
	data, err := EncodeJSON(d)
	if err != nil {
		return event.Event{}, fmt.Errorf("encode data of %s: %w", d.EventType(), err)
	}
	if m, err = m.withDefaults(); err != nil {
		return event.Event{}, err
	}
	var a attributes
	for _, at := range m.attributes(d) {
		if at.value == "" {
			continue
		}
		if err := a.set(at.name, at.value); err != nil {
			return event.Event{}, err
		}
	}
	return a.event(data)
}

func (m Meta) withDefaults() (Meta, error) {
	if m.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return m, fmt.Errorf("make event id: %w", err)
		}
		m.ID = id.String()
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	return m, nil
}

func (m Meta) attributes(d Data) []attribute {
	sequence := ""
	if m.Sequence > 0 {
		sequence = FormatSequence(m.Sequence)
	}
	return []attribute{
		{"specversion", event.CloudEventsVersionV1},
		{"id", m.ID},
		{"source", m.Source},
		{"type", d.EventType()},
		{"subject", m.Subject},
		{"time", formatInstant(m.Time)},
		{"datacontenttype", event.ApplicationJSON},
		{"dataschema", SchemaURI(d.EventType(), d.SchemaVersion())},
		{ExtPartitionKey, m.PartitionKey},
		{ExtSequence, sequence},
		{ExtTraceParent, m.TraceParent},
		{ExtTraceState, m.TraceState},
		{ExtCorrelationID, m.CorrelationID},
		{ExtCausationID, m.CausationID},
	}
}

// FormatSequence pads n to 20 digits, so that sequences sort as text.
func FormatSequence(n int64) string { return fmt.Sprintf("%020d", n) }

// Sequence is the version that an event of ours tells of. It is false where there
// is none.
func Sequence(e event.Event) (int64, bool) {
	s, _ := e.Extensions()[ExtSequence].(string)
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0
}
