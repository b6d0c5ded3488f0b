package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

// updateTopology brings streams and consumers of an older version up to date,
// which services never do: they make what is missing, and leave a difference to
// an operator. Here that is this program. It makes nothing.
func updateTopology(ctx context.Context, url string) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	for _, s := range events.Topology(events.TopologyOptions{}) {
		if _, err := js.UpdateStream(ctx, s.StreamConfig); errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		} else if err != nil {
			return fmt.Errorf("update stream %s: %w", s.Name, err)
		}
		for _, c := range s.Consumers {
			if _, err := js.UpdateConsumer(ctx, s.Name, c.ConsumerConfig); err != nil && !errors.Is(err, jetstream.ErrConsumerDoesNotExist) {
				return fmt.Errorf("update consumer %s: %w", c.Durable, err)
			}
		}
	}
	return nil
}
