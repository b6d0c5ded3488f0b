package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"postbus.dev/events"
)

const (
	// MaxBatch is how many events one atomic batch has at most: the server's limit.
	MaxBatch = 1000
	// MaxBatchBytes bounds one atomic batch, which the server keeps in memory
	// until its end.
	MaxBatchBytes = 8 << 20
	// batchTimeout: the server itself drops a batch that takes longer.
	batchTimeout = 10 * time.Second
)

// PublishBatch publishes events of one stream in their order, in atomic batches
// of up to MaxBatch events and MaxBatchBytes, and returns the stream sequence of
// the last. Usually that is one batch; where it takes several and one fails,
// lastSeq is the last that was acked, or 0.
//
// The error is one of the classes in errors.go, or an *EventError. Note that
// core NATS subscribers see the events of a batch before it is complete.
func (b *Bus) PublishBatch(ctx context.Context, stream string, evs []event.Event) (lastSeq uint64, err error) {
	if len(evs) == 0 {
		return 0, errors.New("publish batch: there are no events")
	}
	msgs, err := b.encodeBatch(evs)
	if err != nil {
		return 0, fmt.Errorf("publish batch to %s: %w", stream, err)
	}
	ctx, spans := b.startBatch(ctx, stream, evs, msgs)
	for len(msgs) > 0 && err == nil {
		var seq uint64
		n := fit(msgs)
		if seq, err = b.publishAtomic(ctx, stream, msgs[:n]); err == nil {
			lastSeq, msgs = seq, msgs[n:]
		}
	}
	b.endBatch(ctx, spans, len(evs), err)
	if err != nil {
		return lastSeq, fmt.Errorf("publish batch to %s: %w", stream, err)
	}
	return lastSeq, nil
}

func (b *Bus) encodeBatch(evs []event.Event) ([]*nats.Msg, error) {
	msgs := make([]*nats.Msg, len(evs))
	for i, e := range evs {
		m, err := b.encode(e)
		if err != nil {
			return nil, &EventError{i, err}
		}
		msgs[i] = m
	}
	return msgs, nil
}

// fit is how many messages from the front make one batch.
func fit(msgs []*nats.Msg) int {
	size := 0
	for i, m := range msgs {
		size += m.Size()
		if i == MaxBatch || i > 0 && size > MaxBatchBytes {
			return i
		}
	}
	return len(msgs)
}

// publishAtomic waits for an ack of the first message too: a stream that does
// not take batches, or no stream at all, is found out before all is sent.
func (b *Bus) publishAtomic(ctx context.Context, stream string, msgs []*nats.Msg) (uint64, error) {
	began := time.Now()
	if err := b.ready(ctx); err != nil {
		return 0, b.classify(err, began)
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	flow := jetstreamext.BatchFlowControl{AckFirst: len(msgs) > 1, AckTimeout: b.conf.PublishTimeout}
	ack, err := jetstreamext.PublishMsgBatch(ctx, b.js, msgs, flow)
	if err != nil {
		return 0, b.classify(err, began)
	}
	if ack.Stream != stream {
		return 0, &RefusedError{Description: fmt.Sprintf("the events are in stream %s, not %s", ack.Stream, stream)}
	}
	return ack.Sequence, nil
}

// IDsAfter reads which events a stream holds after a sequence, by events.MsgID of
// their source and id, with the sequence of each, and up to which sequence it
// read: all that was stored when it was called. A sequence that the stream never
// reached means that it is a new one: then everything in it counts.
func (b *Bus) IDsAfter(ctx context.Context, stream string, after uint64) (ids map[string]uint64, last uint64, err error) {
	r, err := b.readerOf(ctx, stream, after)
	if err != nil {
		return nil, 0, fmt.Errorf("read stream %s: %w", stream, err)
	}
	ids = map[string]uint64{}
	err = r.each(ctx, func(seq uint64, m *nats.Msg) {
		if id := msgID(m); id != "" {
			ids[id] = seq
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read stream %s after %d: %w", stream, after, err)
	}
	return ids, r.last, nil
}

// msgID is that of the event in m, whoever sent it; "" where none can be read
// from the headers. Only those of others have no Nats-Msg-Id.
func msgID(m *nats.Msg) string {
	if id := m.Header.Get(nats.MsgIdHdr); id != "" {
		return id
	}
	e, err := events.Decode(m)
	if err != nil {
		return ""
	}
	return events.MsgID(e.Source(), e.ID())
}
