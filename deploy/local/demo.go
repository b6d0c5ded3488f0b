package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

const (
	upstream   = "/postbus/demo" // who the demo's requests come from
	demoUser   = "demo"          // whom they are for
	attachWait = 30 * time.Second
	murmur     = 10 * time.Second // between two signs of life
)

// demo does what an upstream system does: it sends requests and listens for
// what becomes of them.
func (s *system) demo(ctx context.Context, nc *nats.Conn, heard <-chan event.Event) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if err := awaitPublisher(ctx, js); err != nil {
		return err
	}
	waiting, traceID, err := s.request(ctx, js)
	if err != nil {
		return err
	}
	open := s.report(ctx, heard, waiting)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.waterfall(ctx, traceID)
	s.say("first posts after %s", time.Since(s.started).Round(100*time.Millisecond))
	if open > 0 && s.cfg.once {
		return fmt.Errorf("%d of the first posts not completed; %s tells more", open, s.path("postbus.log"))
	}
	return nil
}

// listen collects the events about publishes.
func listen(nc *nats.Conn) (<-chan event.Event, error) {
	out := make(chan event.Event, 256)
	_, err := nc.Subscribe("publish.*", func(m *nats.Msg) {
		if e, err := events.Decode(m); err == nil {
			select {
			case out <- e:
			default: // somebody publishes a lot; the demo's own come first
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to events: %w", err)
	}
	return out, nc.Flush()
}

// awaitPublisher waits for the publisher's consumer, which it makes.
func awaitPublisher(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, attachWait)
	defer cancel()
	for {
		_, err := js.Consumer(ctx, events.StreamPublish, events.ConsumerPublisher)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the publisher to attach: %w", errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// firstPosts are one of each kind.
func firstPosts() []events.PublishRequested {
	const picture, film = "https://example.com/image.jpg", "https://example.com/video.mp4"
	posts := []events.PublishRequested{
		{MediaType: events.MediaImage, MediaURL: picture, Caption: "A first picture", AltText: "A lighthouse at dusk"},
		{MediaType: events.MediaVideo, MediaURL: film, Caption: "A first film"},
		{MediaType: events.MediaCarousel, Caption: "A picture and a film", Children: []events.Child{
			{MediaType: events.MediaImage, MediaURL: picture}, {MediaType: events.MediaVideo, MediaURL: film},
		}},
	}
	for i := range posts {
		posts[i].Provider, posts[i].UserID = "instagram", demoUser
	}
	return posts
}

// request sends the first posts, each with a trace that begins here. It returns
// the publishes to wait for, with their media types, and the first one's trace.
func (s *system) request(ctx context.Context, js jetstream.JetStream) (waiting map[string]string, traceID string, err error) {
	t := newTracer(s.spans)
	defer t.stop(ctx)
	waiting = map[string]string{}
	run := time.Now().UTC().Format("20060102T150405.000")
	for _, post := range firstPosts() {
		id := "first-" + post.MediaType + "-" + run
		trace, err := t.send(ctx, js, id, post)
		if err != nil {
			return nil, "", fmt.Errorf("send publish.requested: %w", err)
		}
		if traceID == "" {
			traceID = trace
		}
		publish := events.PublishID(upstream, id).String()
		waiting[publish] = post.MediaType
		s.say("%-17s  %-8s  publish %s", events.TypePublishRequested, post.MediaType, publish)
	}
	return waiting, traceID, nil
}

// report prints what is heard of the publishes and returns how many were not
// completed when all had ended, or the patience had.
func (s *system) report(ctx context.Context, heard <-chan event.Event, waiting map[string]string) (open int) {
	limit, silence := time.After(s.cfg.patience), time.NewTicker(murmur)
	defer silence.Stop()
	for ended := 0; ended < len(waiting); {
		select {
		case <-ctx.Done():
			return 0
		case <-silence.C:
			s.say("still waiting for %d of them", len(waiting)-ended)
		case <-limit:
			s.say("\n%d of %d are not through after %s: GET /api/publishes/{id} tells why", len(waiting)-ended, len(waiting), s.cfg.patience)
			return open + len(waiting) - ended
		case e := <-heard:
			media, mine := waiting[e.Subject()]
			if !mine {
				continue
			}
			switch e.Type() {
			case events.TypePublishCompleted:
				ended++
			case events.TypePublishFailed, events.TypePublishCanceled:
				ended, open = ended+1, open+1
			}
			s.say("%-17s  %-8s  %s", e.Type(), media, about(e))
		}
	}
	return open
}

// about is what a person wants to know of an event first.
func about(e event.Event) string {
	var d struct {
		Permalink, Code, Message, Reason, Detail string
		Until                                    time.Time
	}
	if err := json.Unmarshal(e.Data(), &d); err != nil {
		return err.Error()
	}
	switch e.Type() {
	case events.TypePublishCompleted:
		return d.Permalink
	case events.TypePublishFailed:
		return d.Code + ": " + d.Message
	case events.TypePublishDelayed:
		if !d.Until.IsZero() {
			d.Reason += " until " + d.Until.Local().Format(time.TimeOnly)
		}
		if d.Detail != "" {
			d.Reason += " (" + d.Detail + ")"
		}
		return d.Reason
	}
	return "publish " + e.Subject()
}
