package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"postbus.dev/events"
)

// source is the CloudEvents source of the requests.
const source = "/bench"

// caption has the length that captions have.
const caption = "A caption of the length that captions have: 0123456789 0123456789 0123456789 #bench"

// request is publish.requested for an image of an account.
func request(n int, account string) (uuid.UUID, *nats.Msg, error) {
	id := fmt.Sprintf("request-%07d", n)
	e, err := events.New(events.Meta{ID: id, Source: source}, events.PublishRequested{
		MediaType: events.MediaImage, MediaURL: "https://media.example.com/a/0123456789012345678901234567890123456789.jpg",
		Caption: fmt.Sprintf("%s %d", caption, n), AccountID: account,
	})
	if err != nil {
		return uuid.Nil, nil, err
	}
	m, err := events.Encode(e)
	return events.PublishID(source, id), m, err
}

// preload puts n requests into the stream.
func (s *stand) preload(ctx context.Context, n int, accounts []string) error {
	const batch = 500
	msgs := make([]*nats.Msg, 0, batch)
	for i := range n {
		_, m, err := request(i, accounts[i%len(accounts)])
		if err != nil {
			return err
		}
		if msgs = append(msgs, m); len(msgs) < batch && i < n-1 {
			continue
		}
		if _, err := jetstreamext.PublishMsgBatch(ctx, s.js, msgs, jetstreamext.BatchFlowControl{AckFirst: true, AckTimeout: 10 * time.Second}); err != nil {
			return fmt.Errorf("send requests: %w", err)
		}
		msgs = msgs[:0]
	}
	return nil
}

// stuckAfter is how long nothing may happen.
const stuckAfter = time.Minute

// completed waits until the stream holds n publish.completed, and returns when
// the server stored the last of them.
func (b *bench) completed(ctx context.Context, p *process, n int) (time.Time, error) {
	st, err := b.stand.js.Stream(ctx, events.StreamPublish)
	if err != nil {
		return time.Time{}, fmt.Errorf("read stream: %w", err)
	}
	seen, moved := -1, time.Now()
	for {
		have, err := count(ctx, st, events.TypePublishCompleted)
		if err != nil {
			return time.Time{}, err
		}
		if have != seen {
			seen, moved = have, time.Now()
			b.progress.at("%d of %d", have, n)
		}
		if have >= n {
			break
		}
		if err := errors.Join(p.running(), ctx.Err()); err != nil {
			return time.Time{}, err
		}
		if time.Since(moved) > stuckAfter {
			return time.Time{}, b.stuck(ctx, st, p)
		}
		time.Sleep(50 * time.Millisecond)
	}
	last, err := st.GetLastMsgForSubject(ctx, events.TypePublishCompleted)
	if err != nil {
		return time.Time{}, fmt.Errorf("read stream: %w", err)
	}
	return last.Time, nil
}

func count(ctx context.Context, st jetstream.Stream, subject string) (int, error) {
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("read stream: %w", err)
	}
	return int(info.State.Subjects[subject]), nil
}

// stuck says what is there.
func (b *bench) stuck(ctx context.Context, st jetstream.Stream, p *process) error {
	info, err := st.Info(ctx, jetstream.WithSubjectFilter("publish.>"))
	if err != nil {
		return fmt.Errorf("nothing happened for %s: %w", stuckAfter, err)
	}
	return fmt.Errorf("nothing happened for %s; the stream holds %v; the publisher's log: %s", stuckAfter, info.State.Subjects, p.log)
}

// postedOnce holds a measurement to what it is about: n posts, none of them
// twice. Numbers of a run that lost or doubled one mean nothing.
func (b *bench) postedOnce(ctx context.Context, n int) error {
	var t struct{ Posts, Duplicates int }
	if err := b.stand.ask(ctx, "GET", "/bench/totals", nil, &t); err != nil {
		return err
	}
	if t.Posts != n || t.Duplicates != 0 {
		return fmt.Errorf("the provider has %d posts, %d of them doubled, of %d publishes", t.Posts, t.Duplicates, n)
	}
	return nil
}
