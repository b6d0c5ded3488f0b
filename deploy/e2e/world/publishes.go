package world

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

// Source is the CloudEvents source of the requests that a World sends.
const Source = "/e2e"

// Request sends publish.requested and returns the publish's id.
func (w *World) Request(id string, data events.PublishRequested) uuid.UUID {
	w.T.Helper()
	body, err := json.Marshal(data)
	if err != nil {
		w.T.Fatal(err)
	}
	return w.RequestRaw(id, body)
}

// RequestRaw sends data as it is.
func (w *World) RequestRaw(id string, data []byte) uuid.UUID {
	w.T.Helper()
	m := w.request(id, data)
	w.Eventually(30*time.Second, "the stream takes a request", func() bool {
		_, err := w.JS.PublishMsg(context.Background(), m)
		return err == nil
	})
	return events.PublishID(Source, id)
}

// Image is a request for one image of an account.
func Image(account, caption string) events.PublishRequested {
	return events.PublishRequested{MediaType: events.MediaImage, MediaURL: "https://example.com/image.jpg", Caption: caption, AccountID: account}
}

// States counts the publishes by state.
func (w *World) States() map[string]int {
	w.T.Helper()
	rows, err := w.Pool.Query(context.Background(), `SELECT state, count(*) FROM publishes GROUP BY state`)
	if err != nil {
		return nil // the database may be away
	}
	defer rows.Close()
	out := map[string]int{}
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			w.T.Fatal(err)
		}
		out[state] = n
	}
	return out
}

// AwaitEnd waits until n publishes have ended or are unconfirmed.
func (w *World) AwaitEnd(within time.Duration, n int) {
	w.T.Helper()
	w.Eventually(within, fmt.Sprintf("%d publishes ended", n), func() bool {
		s := w.States()
		return s["completed"]+s["failed"]+s["canceled"]+s["unconfirmed"] >= n
	})
}

// History reads all events of a stream.
func (w *World) History(stream string) (out []event.Event) {
	w.T.Helper()
	for _, m := range w.messages(stream) {
		e, err := events.Decode(m)
		if err != nil {
			continue // requests that tests sent malformed
		}
		out = append(out, e)
	}
	return out
}

func (w *World) messages(stream string) (out []*nats.Msg) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := w.JS.Stream(ctx, stream)
	if err != nil {
		w.T.Fatalf("read stream %s: %v", stream, err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		w.T.Fatalf("read stream %s: %v", stream, err)
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		w.T.Fatalf("read stream %s: %v", stream, err)
	}
	for read := uint64(0); read < info.State.Msgs; read++ {
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			w.T.Fatalf("read stream %s: %v", stream, err)
		}
		out = append(out, &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	}
	return out
}

// Finals reads the events that end a publish, by publish id, once the stream
// holds at least n of them. What is unconfirmed counts as an end here.
func (w *World) Finals(within time.Duration, n int) map[string][]event.Event {
	w.T.Helper()
	var out map[string][]event.Event
	w.Eventually(within, fmt.Sprintf("%d final events on the stream", n), func() bool {
		out = map[string][]event.Event{}
		count := 0
		for _, e := range w.History(events.StreamPublish) {
			switch e.Type() {
			case events.TypePublishCompleted, events.TypePublishFailed, events.TypePublishCanceled, events.TypePublishUnconfirmed:
				out[e.Subject()] = append(out[e.Subject()], e)
				count++
			}
		}
		return count >= n
	})
	return out
}
