package bus

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// reader reads the headers of a stream's messages from a sequence to the end
// that the stream's leader names at the start. It does not use direct gets:
// any replica answers those, also one that lags, and what it lacks would look
// as if it were not stored.
type reader struct {
	bus    *Bus
	stream jetstream.Stream
	first  uint64 // 0: nothing to read
	last   uint64
}

func (b *Bus) readerOf(ctx context.Context, stream string, after uint64) (*reader, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return nil, err
	}
	state := info.State
	if after > state.LastSeq {
		after = 0
	}
	r := &reader{bus: b, stream: s, last: state.LastSeq}
	first, end := max(after+1, state.FirstSeq), state.LastSeq
	for end >= first && slices.Contains(state.Deleted, end) {
		end-- // an operator removed it; waiting for it would take for ever
	}
	if state.Msgs > 0 && first <= end {
		r.first, r.last = first, end
	}
	return r, nil
}

func (r *reader) each(ctx context.Context, f func(seq uint64, m *nats.Msg)) error {
	if r.first == 0 {
		return nil
	}
	c, err := r.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.first,
		HeadersOnly: true,
	})
	if err != nil {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		md, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read metadata: %w", err)
		}
		if md.Sequence.Stream <= r.last {
			f(md.Sequence.Stream, &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
		}
		if md.Sequence.Stream >= r.last {
			return nil
		}
	}
}
