package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/telemetry"
	"postbus.dev/services/publisher/internal/job"
)

// Source is the CloudEvents source of the publisher's events.
const Source = "/postbus/publisher"

func refOf(p job.Publish) events.PublishRef {
	ref := events.PublishRef{PublishID: p.ID.String(), RequestSource: p.EventSource, RequestID: p.EventID, Provider: p.Provider}
	if p.AccountID != ([16]byte{}) {
		ref.AccountID = p.AccountID.String()
	}
	return ref
}

// tell makes the event of a row as it shall be: its sequence is the version
// that the row gets by the same write.
func tell(ctx context.Context, p job.Publish, version int64, d events.Data) (event.Event, error) {
	parent, state := telemetry.TraceContext(ctx)
	return events.New(events.Meta{
		Source: Source, Subject: p.ID.String(), PartitionKey: refOf(p).AccountID, Sequence: version,
		TraceParent: parent, TraceState: state, CorrelationID: p.ID.String(), CausationID: p.EventID,
	}, d)
}

// event makes the event of a transition. One that cannot be made is a fault of
// this code; it is kept in t.fault, and the transition is not written without it.
func (t *turn) event(ctx context.Context, p job.Publish, d events.Data) []event.Event {
	e, err := tell(ctx, p, p.Version+1, d)
	if err != nil {
		t.fault = unfit("make "+d.EventType(), err)
		return nil
	}
	return []event.Event{e}
}

// maxMetadata bounds what a connector may tell about a post: it has to fit into
// an event.
const maxMetadata = 64 << 10

// tellable is metadata that an event can carry, or nil.
func tellable(metadata json.RawMessage) json.RawMessage {
	var object map[string]json.RawMessage
	if len(metadata) > maxMetadata || json.Unmarshal(metadata, &object) != nil {
		return nil
	}
	return metadata
}

func completedData(p job.Publish, post *connectors.RemotePost) events.Data {
	return events.PublishCompleted{
		PublishRef: refOf(p), MediaType: p.MediaType, PostID: orNull(firstOf(post.ID, p.RemoteID)), Permalink: orNull(post.URL),
		Caption: post.Caption, PublishedAt: post.Timestamp, Attempts: p.Attempt, Metadata: tellable(post.Metadata),
		Timings: events.Timings{AcceptedAt: p.AcceptedAt, DueAt: p.DueAt, ArmedAt: p.ArmedAt, CompletedAt: time.Now().UTC()},
	}
}

func failedData(ref events.PublishRef, e *connectors.Error, attempt int) events.Data {
	d := events.PublishFailed{
		PublishRef: ref, Code: firstOf(e.Code, connectors.CodeInternal), Message: e.Message, Retryable: retryable(e.Code),
		ProviderCode: e.ProviderCode, ProviderRequestID: e.Call.RequestID, Attempt: attempt,
	}
	for _, v := range e.Violations {
		d.Violations = append(d.Violations, events.Violation(v))
	}
	return d
}

// retryable says whether the same request, sent again with a new id, may succeed
// without anybody changing it.
func retryable(code string) bool {
	switch code {
	case connectors.CodeRateLimited, connectors.CodeQuotaExhausted, connectors.CodeUnavailable, connectors.CodeTimeout,
		connectors.CodeMediaUnreachable, connectors.CodeInternal, "EXPIRED":
		return true
	}
	return false
}

func unconfirmedData(p job.Publish, evidence, other string) events.Data {
	return events.PublishUnconfirmed{
		PublishRef: refOf(p), Attempt: p.Attempt, ArmedAt: p.ArmedAt, QuietAt: p.QuietAt, Evidence: evidence, OtherPublishID: other,
	}
}

func (t *turn) delayedData(reason string, until time.Time, detail string) events.Data {
	return events.PublishDelayed{PublishRef: refOf(t.p), Reason: reason, Until: until.UTC(), Detail: detail}
}

// refreshEvent asks for new tokens of the account, from the version that did
// not work. The id is the same for every publish, in every process, that asks
// for the same, so that the stream drops what its duplicate window covers. What
// comes after that reminds a refresher that never acted.
func (t *turn) refreshEvent(ctx context.Context, why string) []event.Event {
	parent, state := telemetry.TraceContext(ctx)
	id := uuid.NewSHA1(t.l.account, fmt.Appendf(nil, "%s/%d", events.TypeTokenRefreshRequested, t.acct.TokenVersion))
	e, err := events.New(events.Meta{
		ID: id.String(), Source: Source, Subject: t.acct.ID, PartitionKey: t.acct.ID, Sequence: t.acct.TokenVersion,
		TraceParent: parent, TraceState: state, CorrelationID: t.p.ID.String(), CausationID: t.p.EventID,
	}, events.TokenRefreshRequested{AccountID: t.acct.ID, Provider: t.p.Provider, TokenVersion: t.acct.TokenVersion, Reason: why})
	if err != nil {
		t.r.log.ErrorContext(ctx, "make event", "type", events.TypeTokenRefreshRequested, "error", err)
		return nil
	}
	return []event.Event{e}
}

func remoteContext(parent, state string) trace.SpanContext {
	c := propagation.MapCarrier{"traceparent": parent, "tracestate": state}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), c))
}
