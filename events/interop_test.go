package events_test

import (
	jsm "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	_ "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"

	"postbus.dev/events"
)

var (
	_ wmnats.MarshalerUnmarshaler = events.Codec{}
	_ jsm.Unmarshaler             = events.JetStreamCodec{}
)
