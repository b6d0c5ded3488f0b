package world

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// Video is a request for a reel.
func Video(account, caption string) events.PublishRequested {
	return events.PublishRequested{MediaType: events.MediaVideo, MediaURL: "https://example.com/video.mp4", Caption: caption, AccountID: account}
}

// Carousel is a request for a carousel of an image and a video.
func Carousel(account, caption string) events.PublishRequested {
	return events.PublishRequested{MediaType: events.MediaCarousel, Caption: caption, AccountID: account, Children: []events.Child{
		{MediaType: events.MediaImage, MediaURL: "https://example.com/1.jpg"},
		{MediaType: events.MediaVideo, MediaURL: "https://example.com/2.mp4"},
	}}
}

// Story is a request for a story. It has no caption: the name, which must be
// unique, is in its URL.
func Story(account, name string) events.PublishRequested {
	return events.PublishRequested{MediaType: events.MediaStory, MediaURL: "https://example.com/" + name + ".jpg", AccountID: account}
}

// Send puts a message on the bus as it is.
func (w *World) Send(m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := w.JS.PublishMsg(ctx, m)
	return err
}

// Repeat sends a request again in a way that the server does not know for a
// repeat: nonce makes the Nats-Msg-Id another one.
func (w *World) Repeat(id, nonce string, data []byte) {
	w.T.Helper()
	m := w.request(id, data)
	m.Header.Set(nats.MsgIdHdr, m.Header.Get(nats.MsgIdHdr)+"#"+nonce)
	if err := w.Send(m); err != nil {
		w.T.Fatalf("send request %s again: %v", id, err)
	}
}

// Cancel asks to stop a publish.
func (w *World) Cancel(id string, c events.PublishCancelRequested) {
	w.T.Helper()
	w.tell(events.Meta{Source: Source, Subject: id}, c)
}

// tell sends an event.
func (w *World) tell(meta events.Meta, d events.Data) {
	w.T.Helper()
	e, err := events.New(meta, d)
	if err != nil {
		w.T.Fatal(err)
	}
	m, err := events.Encode(e)
	if err != nil {
		w.T.Fatal(err)
	}
	if err := w.Send(m); err != nil {
		w.T.Fatalf("send %s of %s: %v", d.EventType(), meta.Subject, err)
	}
}

func (w *World) request(id string, data []byte) *nats.Msg {
	w.T.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource(Source)
	e.SetType(events.TypePublishRequested)
	e.SetTime(time.Now())
	e.SetDataContentType("application/json")
	e.DataEncoded = data
	m, err := events.Encode(e)
	if err != nil {
		w.T.Fatal(err)
	}
	return m
}

// ID is the publish of a request that Request sent under this id.
func ID(id string) uuid.UUID { return events.PublishID(Source, id) }

// Row is a publish as it stands.
type Row struct {
	State, Delay string
	Attempt      int
	Version      int64
	Account      string
	ArmedAt      time.Time // zero: never armed
	DueAt        time.Time
	Code         string // of the error
	Message      string // of the error
	RemoteID     string
}

// Rows reads all publishes, by id.
func (w *World) Rows() map[string]Row {
	w.T.Helper()
	rows, err := w.Pool.Query(context.Background(), `SELECT id::text, state, coalesce(delay_reason, ''), attempt, version, coalesce(account_id::text, ''),
		coalesce(armed_at, '0001-01-01 00:00:00Z'), due_at, coalesce(error->>'code', ''), coalesce(error->>'message', ''), coalesce(remote_id, '') FROM publishes`)
	if err != nil {
		w.T.Fatal(err)
	}
	defer rows.Close()
	out := map[string]Row{}
	for rows.Next() {
		var id string
		var r Row
		if err := rows.Scan(&id, &r.State, &r.Delay, &r.Attempt, &r.Version, &r.Account, &r.ArmedAt, &r.DueAt, &r.Code, &r.Message, &r.RemoteID); err != nil {
			w.T.Fatal(err)
		}
		out[id] = r
	}
	return out
}

// Await waits until a publish is as told, and returns its row.
func (w *World) Await(within time.Duration, id fmt.Stringer, what string, is func(Row) bool) (r Row) {
	w.T.Helper()
	w.Eventually(within, fmt.Sprintf("publish %s is %s", id, what), func() bool {
		r = w.Rows()[id.String()]
		return is(r)
	})
	return r
}
