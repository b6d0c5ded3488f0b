package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

// Difference is one setting of the server that is not as declared. Want and Got
// are JSON; "-" means absent.
type Difference struct {
	Object  string // such as "stream PUBLISH" or "consumer publisher"
	Setting string // its name in the NATS API, such as "max_age"
	Want    string
	Got     string
}

// TopologyError tells that streams or consumers exist but are not as declared.
// Nothing was altered: an operator decides which side is right.
type TopologyError struct{ Differences []Difference }

// Error lists every difference with both values.
func (e *TopologyError) Error() string {
	parts := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		parts[i] = fmt.Sprintf("%s: %s is %s, declared is %s", d.Object, d.Setting, d.Got, d.Want)
	}
	return "topology differs: " + strings.Join(parts, "; ")
}

// Ensure makes the declared streams and consumers that are missing and compares
// those that exist. A difference is a *TopologyError, once all are ensured;
// nothing is ever altered. It may run in many processes at once.
func (b *Bus) Ensure(ctx context.Context) error {
	var differences []Difference
	for _, s := range b.topology {
		got, err := b.ensureStream(ctx, s)
		if err != nil {
			return fmt.Errorf("ensure stream %s: %w", s.Name, err)
		}
		differences = append(differences, diff("stream "+s.Name, s.StreamConfig, got)...)
		for _, c := range s.Consumers {
			info, err := b.ensureConsumer(ctx, c)
			if err != nil {
				return fmt.Errorf("ensure consumer %s of %s: %w", c.Durable, c.Stream, err)
			}
			differences = append(differences, diff("consumer "+c.Durable, c.ConsumerConfig, info.Config)...)
		}
	}
	if len(differences) > 0 {
		return &TopologyError{differences}
	}
	return nil
}

func (b *Bus) ensureStream(ctx context.Context, want events.Stream) (jetstream.StreamConfig, error) {
	s, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = b.js.CreateStream(ctx, want.StreamConfig)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was first
			s, err = b.js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return jetstream.StreamConfig{}, err
	}
	return s.CachedInfo().Config, nil
}

func (b *Bus) ensureConsumer(ctx context.Context, want events.Consumer) (*jetstream.ConsumerInfo, error) {
	c, err := b.js.Consumer(ctx, want.Stream, want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c, err = b.js.CreateConsumer(ctx, want.Stream, want.ConsumerConfig)
		if errors.Is(err, jetstream.ErrConsumerExists) || errors.Is(err, jetstream.ErrConsumerNameAlreadyInUse) {
			c, err = b.js.Consumer(ctx, want.Stream, want.Durable)
		}
	}
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// bind finds a declared consumer for the subscriber and makes what is missing. A
// difference does not keep us from consuming; Ensure at start reports it.
func (b *Bus) bind(ctx context.Context, consumer string) (binding, error) {
	var different *TopologyError
	if err := b.Ensure(ctx); errors.As(err, &different) {
		b.log.Error("topology differs from the declared one", "error", err)
	} else if err != nil {
		return binding{}, err
	}
	stream, _ := b.streamOf(consumer)
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return binding{}, fmt.Errorf("look up consumer %s of %s: %w", consumer, stream, err)
	}
	info := c.CachedInfo()
	return binding{stream: stream, consumer: consumer, ackWait: info.Config.AckWait, created: info.Created}, nil
}

// progress is how many deliveries a consumer has made, to anybody.
func (b *Bus) progress(ctx context.Context, stream, consumer string) (uint64, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return 0, fmt.Errorf("look up consumer %s of %s: %w", consumer, stream, err)
	}
	return c.CachedInfo().Delivered.Consumer, nil
}

// streamOf is the stream of a declared consumer.
func (b *Bus) streamOf(consumer string) (string, bool) {
	for _, s := range b.topology {
		for _, c := range s.Consumers {
			if c.Durable == consumer {
				return s.Name, true
			}
		}
	}
	return "", false
}

// diff compares two configurations in the form that the NATS API has. What a
// server adds by itself is no difference: its metadata, and zero values.
func diff(object string, want, got any) []Difference {
	w, g := settings(want), settings(got)
	var out []Difference
	for _, name := range slices.Sorted(maps.Keys(union(w, g))) {
		if !reflect.DeepEqual(w[name], g[name]) {
			out = append(out, Difference{object, name, text(w[name]), text(g[name])})
		}
	}
	return out
}

func union(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func settings(config any) map[string]any {
	raw, err := json.Marshal(config)
	if err != nil {
		return map[string]any{"config": err.Error()}
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return map[string]any{"config": err.Error()}
	}
	if metadata, ok := all["metadata"].(map[string]any); ok {
		maps.DeleteFunc(metadata, func(key string, _ any) bool { return strings.HasPrefix(key, "_nats.") })
	}
	maps.DeleteFunc(all, func(_ string, v any) bool { return empty(v) })
	return all
}

// empty tells a setting at its zero value, or an object of nothing else.
func empty(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, inner := range v {
			if !empty(inner) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return v == nil || reflect.ValueOf(v).IsZero()
}

func text(v any) string {
	if v == nil {
		return "-"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}
