package events

import (
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MetaMalformed is the metadata key of a message that could not be read as an
// event; its value is the reason, and the payload is that of the wire.
const MetaMalformed = "_postbus_malformed"

// Codec is the marshaler and unmarshaler that watermill-nats' pkg/nats takes. A
// message of ours has the event's id as its UUID, the data as its payload, and
// each attribute as metadata: "ce-" and the name, the value not encoded. Other
// headers, such as the traceparent of the last hop, are metadata as they are.
type Codec struct{}

// JetStreamCodec is the unmarshaler that watermill-nats' pkg/jetstream takes.
type JetStreamCodec struct{}

// ToMessage is the message of e.
func ToMessage(e event.Event) (*message.Message, error) {
	list, err := sendable(e)
	if err != nil {
		return nil, err
	}
	return newMessage(e, list), nil
}

func newMessage(e event.Event, list []attribute) *message.Message {
	m := message.NewMessage(e.ID(), e.Data())
	for _, at := range list {
		m.Metadata[headerPrefix+at.name] = at.value
	}
	return m
}

// FromMessage is the event of a message; a *MalformedError tells why it has none.
func FromMessage(m *message.Message) (event.Event, error) {
	if reason, bad := m.Metadata[MetaMalformed]; bad {
		return event.Event{}, malformed(reason)
	}
	var a attributes
	for key, value := range m.Metadata {
		name, ok := strings.CutPrefix(key, headerPrefix)
		if !ok {
			continue
		}
		if err := a.set(name, value); err != nil {
			return event.Event{}, err
		}
	}
	return a.event(m.Payload)
}

// Marshal writes m in binary mode to the topic. Metadata that is no attribute
// becomes a header, except what belongs to a server or a library.
func (Codec) Marshal(topic string, m *message.Message) (*nats.Msg, error) {
	e, err := FromMessage(m)
	if err != nil {
		return nil, err
	}
	out, err := Encode(e)
	if err != nil {
		return nil, err
	}
	out.Subject = topic
	for key, value := range m.Metadata {
		if foreign(key) && !strings.ContainsAny(key+value, "\r\n") {
			out.Header[key] = []string{value}
		}
	}
	return out, nil
}

// foreign tells metadata and headers that are neither attributes nor reserved.
func foreign(key string) bool {
	lower := strings.ToLower(key)
	return key != "" && !strings.ContainsAny(key, ": ") && lower != "content-type" &&
		!strings.HasPrefix(lower, headerPrefix) && !strings.HasPrefix(lower, "nats-") && key[0] != '_'
}

// Unmarshal reads m in every form that Decode knows. It never fails, because
// both subscribers of watermill-nats mishandle that: what cannot be read is a
// message with MetaMalformed.
func (Codec) Unmarshal(m *nats.Msg) (*message.Message, error) {
	e, err := Decode(m)
	if err != nil {
		return unreadable(m, err), nil
	}
	list, err := listAttributes(e)
	if err != nil {
		return unreadable(m, err), nil
	}
	out := newMessage(e, list)
	copyHeader(out, m.Header)
	return out, nil
}

// Unmarshal is that of Codec.
func (JetStreamCodec) Unmarshal(m jetstream.Msg) (*message.Message, error) {
	return Codec{}.Unmarshal(&nats.Msg{Subject: m.Subject(), Reply: m.Reply(), Header: m.Headers(), Data: m.Data()})
}

func unreadable(m *nats.Msg, err error) *message.Message {
	out := message.NewMessage(uuid.NewString(), m.Data)
	copyHeader(out, m.Header)
	out.Metadata[MetaMalformed] = strings.TrimPrefix(err.Error(), malformed("").Error())
	return out
}

func copyHeader(out *message.Message, h nats.Header) {
	for key, values := range h {
		if len(values) > 0 && foreign(key) {
			out.Metadata[key] = values[0]
		}
	}
}
