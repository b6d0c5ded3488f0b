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
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/events"
)

// patience is how long the first posts may take.
const patience = 60 * time.Second

// upstream is who the demo's requests come from.
const upstream = "/postbus/demo"

// demo does what an upstream system does: it sends requests and listens for
// what becomes of them.
func (s *system) demo(ctx context.Context, started time.Time) error {
	nc, err := nats.Connect(s.natsURL)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	finals, err := listen(nc)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if err := awaitStreams(ctx, js); err != nil {
		return err
	}
	waiting, traceID, err := s.request(ctx, js)
	if err != nil {
		return err
	}
	failed := s.report(ctx, finals, waiting)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.waterfall(ctx, traceID)
	s.say("\nfirst posts after %s", time.Since(started).Round(100*time.Millisecond))
	if failed > 0 && s.cfg.once {
		return fmt.Errorf("%d of the first posts were not completed; %s/postbus.log tells more", failed, s.cfg.dataDir)
	}
	if !s.cfg.once {
		s.hints()
	}
	return nil
}

// listen collects the events that end a publish.
func listen(nc *nats.Conn) (<-chan event.Event, error) {
	out := make(chan event.Event, 64)
	for _, subject := range []string{events.TypePublishCompleted, events.TypePublishFailed, events.TypePublishUnconfirmed, events.TypePublishCanceled} {
		_, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if e, err := events.Decode(m); err == nil {
				select {
				case out <- e:
				default: // somebody publishes a lot; the demo's own come first
				}
			}
		})
		if err != nil {
			return nil, fmt.Errorf("listen to %s: %w", subject, err)
		}
	}
	return out, nc.Flush()
}

func awaitStreams(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
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

func firstPosts() []events.PublishRequested {
	const picture, film = "https://example.com/image.jpg", "https://example.com/video.mp4"
	post := func(r events.PublishRequested) events.PublishRequested {
		r.Provider, r.UserID = "instagram", "demo"
		return r
	}
	return []events.PublishRequested{
		post(events.PublishRequested{MediaType: events.MediaImage, MediaURL: picture, Caption: "A first picture", AltText: "A lighthouse at dusk"}),
		post(events.PublishRequested{MediaType: events.MediaVideo, MediaURL: film, Caption: "A first film"}),
		post(events.PublishRequested{MediaType: events.MediaCarousel, Caption: "A picture and a film", Children: []events.Child{
			{MediaType: events.MediaImage, MediaURL: picture}, {MediaType: events.MediaVideo, MediaURL: film},
		}}),
	}
}

// request sends the first posts, each with the trace of an upstream system. It
// returns the publishes to wait for, and the trace of the first.
func (s *system) request(ctx context.Context, js jetstream.JetStream) (map[string]string, string, error) {
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(s.spans))
	defer func() { _ = tp.Shutdown(context.WithoutCancel(ctx)) }()
	tracer := tp.Tracer("postbus.dev/deploy/local")
	waiting, first := map[string]string{}, ""
	run := time.Now().UTC().Format("20060102T150405.000")
	for _, post := range firstPosts() {
		id := "first-" + post.MediaType + "-" + run
		ctx, span := tracer.Start(ctx, "upstream asks for "+post.MediaType)
		carrier := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, carrier)
		e, err := events.New(events.Meta{ID: id, Source: upstream, TraceParent: carrier["traceparent"]}, post)
		if err != nil {
			return nil, "", err
		}
		m, err := events.Encode(e)
		if err != nil {
			return nil, "", err
		}
		if _, err := js.PublishMsg(ctx, m); err != nil {
			return nil, "", fmt.Errorf("send publish.requested: %w", err)
		}
		if first == "" {
			first = span.SpanContext().TraceID().String()
		}
		span.End()
		publish := events.PublishID(upstream, id).String()
		waiting[publish] = post.MediaType
		s.say("publish.requested  %-8s  %s", post.MediaType, publish)
	}
	return waiting, first, nil
}

// report prints each end and returns how many were not publish.completed.
func (s *system) report(ctx context.Context, finals <-chan event.Event, waiting map[string]string) (failed int) {
	limit := time.After(patience)
	for len(waiting) > 0 {
		select {
		case <-ctx.Done():
			return failed + len(waiting)
		case <-limit:
			for id, media := range waiting {
				s.say("still waiting after %s: %s %s; see GET /api/publishes/%s", patience, media, id, id)
			}
			return failed + len(waiting)
		case e := <-finals:
			media, mine := waiting[e.Subject()]
			if !mine {
				continue
			}
			delete(waiting, e.Subject())
			if e.Type() != events.TypePublishCompleted {
				failed++
			}
			s.say("%-18s %-8s  %s  %s", e.Type(), media, e.Subject(), permalink(e))
			s.say("  %s", e.Data())
		}
	}
	return failed
}

func permalink(e event.Event) string {
	var data struct{ Permalink, Message string }
	_ = json.Unmarshal(e.Data(), &data)
	return data.Permalink + data.Message
}

func (s *system) hints() {
	s.say(`
It stays. Try, in another terminal (README.md tells more; "make nats" builds the nats CLI):

  curl -X POST "http://%[1]s/api/instagram/publish" -H "Content-Type: application/json" -H "Authorization: Bearer %[2]s" -d '{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg"}'

  nats -s %[3]s sub 'publish.>'
  nats -s %[3]s pub publish.requested '{"specversion":"1.0","id":"hello-1","source":"/me","type":"publish.requested","data":{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","caption":"Hello","provider":"instagram","userId":"demo"}}'
  nats -s %[3]s stream info PUBLISH
  curl -s %[4]s/_sandbox/posts

API key: %[2]s
Log:     %[5]s/postbus.log
Ctrl-C ends everything.`, s.cfg.httpAddr, s.seeded.APIKey.Reveal(), s.natsURL, s.sandboxURL, s.cfg.dataDir)
}
