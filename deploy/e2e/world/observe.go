package world

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

// Told is what the publishers told of one publish, in the stream's order.
type Told []event.Event

// Types are the events' types without "publish.".
func (s Told) Types() []string {
	var out []string
	for _, e := range s {
		out = append(out, strings.TrimPrefix(e.Type(), "publish."))
	}
	return out
}

// Delays are the reasons that publish.delayed told, in order.
func (s Told) Delays() []string {
	var out []string
	for _, e := range s {
		var d events.PublishDelayed
		if e.Type() == d.EventType() && json.Unmarshal(e.Data(), &d) == nil {
			out = append(out, d.Reason)
		}
	}
	return out
}

// Failure is what publish.failed told; nil if it did not.
func (s Told) Failure() *events.PublishFailed {
	for _, e := range s {
		var d events.PublishFailed
		if e.Type() == d.EventType() && json.Unmarshal(e.Data(), &d) == nil {
			return &d
		}
	}
	return nil
}

// Told reads what the publishers told of each publish, by id, once the
// outbox is relayed.
func (w *World) Told() map[string]Told {
	w.T.Helper()
	w.awaitDrained()
	out := map[string]Told{}
	for _, e := range w.History(events.StreamPublish) {
		if e.Source() != Source {
			out[e.Subject()] = append(out[e.Subject()], e)
		}
	}
	return out
}

// AwaitConsumer waits until the publishers' consumer has nothing left: all was
// delivered, all is acked or terminated, and nothing will come again.
func (w *World) AwaitConsumer(within time.Duration) {
	w.T.Helper()
	var left string
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		info, err := w.consumer()
		if err == nil && info.NumPending == 0 && info.NumAckPending == 0 && info.NumRedelivered == 0 {
			return
		}
		if err == nil {
			left = fmt.Sprintf("%d pending, %d waiting for an ack, %d delivered again", info.NumPending, info.NumAckPending, info.NumRedelivered)
		} else {
			left = err.Error()
		}
		if time.Now().After(deadline) {
			w.T.Fatalf("the consumer is not at rest within %s: %s", within, left)
		}
	}
}

func (w *World) consumer() (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := w.JS.Consumer(ctx, events.StreamPublish, events.ConsumerPublisher)
	if err != nil {
		return nil, err
	}
	return c.Info(ctx)
}

// DeadLetters reads the stream of dead letters.
func (w *World) DeadLetters() []*nats.Msg {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := w.JS.Stream(ctx, events.StreamDeadLetter)
	if err != nil {
		w.T.Fatalf("read dead letters: %v", err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		w.T.Fatalf("read dead letters: %v", err)
	}
	var out []*nats.Msg
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			w.T.Fatalf("read dead letter %d: %v", seq, err)
		}
		out = append(out, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	}
	return out
}

// Metric sums a counter over the publisher's attributes; 0 where it has none.
func (p *Process) Metric(name string) float64 {
	p.w.T.Helper()
	_, body := p.HTTP(http.MethodGet, "/metrics", "")
	var sum float64
	for line := range strings.Lines(body) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			p.w.T.Fatalf("metric %s is %q", name, value)
		}
		sum += n
	}
	return sum
}

// HTTP calls the publisher's API with the World's key; header holds names and
// values in turn.
func (p *Process) HTTP(method, path, body string, header ...string) (status int, answer string) {
	p.w.T.Helper()
	resp := p.open(method, path, body, header...)
	b, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		p.w.T.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Follow opens the stream of a publish. Events returns the names of what came,
// once the stream has ended.
func (p *Process) Follow(publish string) (events func() []string) {
	p.w.T.Helper()
	resp := p.open(http.MethodGet, "/api/publishes/"+publish+"/events", "") //nolint:bodyclose // below, when it has been read
	if resp.StatusCode != http.StatusOK {
		p.w.T.Fatalf("follow a publish: %s", resp.Status)
	}
	came := make(chan []string, 1)
	go func() {
		var names []string
		for read := bufio.NewScanner(resp.Body); read.Scan(); {
			if name, ok := strings.CutPrefix(read.Text(), "event: "); ok {
				names = append(names, name)
			}
		}
		_ = resp.Body.Close()
		came <- names
	}()
	return func() []string { return <-came }
}

// open sends a request that may take a minute.
func (p *Process) open(method, path, body string, header ...string) *http.Response {
	p.w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	p.w.T.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.API()+path, strings.NewReader(body))
	if err != nil {
		p.w.T.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.w.APIKey)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.w.T.Fatal(err)
	}
	return resp
}
