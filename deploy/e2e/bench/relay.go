package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/e2e/bench/onecall"
	"postbus.dev/events"
)

// relay measures how fast a full outbox is emptied. The rows are written by one
// transaction: the relay sees them all at once, when it is up already.
func (b *bench) relay(ctx context.Context) (err error) {
	n := b.sizes.events
	if err := b.stand.renew(ctx); err != nil {
		return err
	}
	rows, err := outboxRows(n, b.stand.accounts[onecall.Name])
	if err != nil {
		return err
	}
	p, err := b.stand.publisher(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	conn, err := pgx.Connect(ctx, b.stand.dsn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	start, began, err := b.fill(ctx, conn, p, rows)
	if err != nil {
		return err
	}
	ended, err := b.completed(ctx, p, n)
	if err != nil {
		return err
	}
	used := start.until(b.stand.usage(p))
	used.elapsed = ended.Sub(began)
	b.add(used, "relayed_per_s", "relay, events/s", "/s", float64(n)/used.elapsed.Seconds())
	b.costs(used, "relayed event", n)
	return nil
}

// fill writes the rows and commits, and tells the relay as a publisher does
// whose commit had events.
func (b *bench) fill(ctx context.Context, conn *pgx.Conn, p *process, rows [][]any) (usage, time.Time, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return usage{}, time.Time{}, fmt.Errorf("fill outbox: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing after the commit
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"outbox"}, []string{"id", "service", "stream", "subject", "event"}, pgx.CopyFromRows(rows)); err != nil {
		return usage{}, time.Time{}, fmt.Errorf("fill outbox: %w", err)
	}
	start, began := b.stand.usage(p), time.Now()
	if err := tx.Commit(ctx); err != nil {
		return usage{}, time.Time{}, fmt.Errorf("fill outbox: %w", err)
	}
	return start, began, b.stand.nc.Publish("postbus.relay.publisher", nil)
}

// outboxRows are n events as publishes end with.
func outboxRows(n int, accounts []string) ([][]any, error) {
	rows := make([][]any, n)
	for i := range rows {
		now := time.Now().UTC()
		publish, account := uuid.New(), accounts[i%len(accounts)]
		post, link := publish.String(), "https://bench.invalid/p/"+publish.String()
		e, err := events.New(events.Meta{
			Source: "/postbus/publisher", Subject: publish.String(), PartitionKey: account, Sequence: 3,
			CorrelationID: publish.String(), CausationID: fmt.Sprintf("request-%07d", i),
		}, events.PublishCompleted{
			PublishRef: events.PublishRef{PublishID: publish.String(), RequestSource: source, RequestID: fmt.Sprintf("request-%07d", i), AccountID: account, Provider: onecall.Name},
			MediaType:  events.MediaImage, PostID: &post, Permalink: &link, Caption: caption, Attempts: 1,
			Timings: events.Timings{AcceptedAt: now, DueAt: now, ArmedAt: now, CompletedAt: now},
		})
		if err != nil {
			return nil, err
		}
		body, err := events.MarshalJSON(e)
		if err != nil {
			return nil, err
		}
		id, err := uuid.Parse(e.ID())
		if err != nil {
			return nil, err
		}
		rows[i] = []any{[16]byte(id), "publisher", events.StreamPublish, e.Type(), body}
	}
	return rows, nil
}
