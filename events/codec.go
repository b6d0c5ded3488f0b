package events

import (
	"mime"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
)

const (
	headerPrefix      = "ce-"
	headerContentType = "Content-Type"
	structuredType    = "application/cloudevents"
	structuredJSON    = "application/cloudevents+json"
)

// Encode writes e in binary mode: subject = type, each attribute a ce-* header,
// the payload is the data. Nats-Msg-Id is that of MsgID.
func Encode(e event.Event) (*nats.Msg, error) {
	list, err := sendable(e)
	if err != nil {
		return nil, err
	}
	m := newMsg(e)
	m.Data = e.Data()
	for _, at := range list {
		m.Header[headerPrefix+at.name] = []string{percentEncode(at.value)}
	}
	return m, nil
}

// EncodeStructured writes e in structured mode: the payload is the whole event
// as JSON.
func EncodeStructured(e event.Event) (*nats.Msg, error) {
	body, err := MarshalJSON(e)
	if err != nil {
		return nil, err
	}
	m := newMsg(e)
	m.Header[headerContentType] = []string{structuredJSON}
	m.Data = body
	return m, nil
}

func newMsg(e event.Event) *nats.Msg {
	return &nats.Msg{Subject: e.Type(), Header: nats.Header{nats.MsgIdHdr: {MsgID(e.Source(), e.ID())}}}
}

// Decode reads the event of m in binary mode, in structured mode, or as
// structured JSON without any header. Its error is a *MalformedError.
//
// A subject, where m has one, must be the event's type (or that behind
// "deadletter."): rights on the bus are given by subject, and consumers select by
// it.
func Decode(m *nats.Msg) (event.Event, error) {
	e, err := decode(m)
	if err != nil {
		return event.Event{}, err
	}
	if subject := strings.TrimPrefix(m.Subject, DeadLetterPrefix); subject != "" && subject != e.Type() {
		return event.Event{}, malformed("type " + quote(e.Type()) + " came on subject " + quote(m.Subject))
	}
	return e, nil
}

func decode(m *nats.Msg) (event.Event, error) {
	h, err := readHeader(m.Header)
	if err != nil {
		return event.Event{}, err
	}
	mode := strings.ToLower(h.contentType)
	switch {
	case strings.HasPrefix(mode, structuredType):
		return decodeStructured(mode, m.Data)
	case len(h.attributes) > 0:
		return decodeBinary(h, m.Data)
	}
	e, err := UnmarshalJSON(m.Data)
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), malformed("").Error())
		return event.Event{}, malformed("there are no ce-* headers, and as structured JSON: " + reason)
	}
	return e, nil
}

// header is what the headers of a message say about its event.
type header struct {
	contentType string
	attributes  []attribute // still percent-encoded
}

// readHeader sorts the headers by what they mean; names are compared without
// regard to case. A header with two values is refused: readers would differ in
// which they take.
func readHeader(raw nats.Header) (h header, err error) {
	var contentTypes int
	for name, values := range raw {
		if len(values) > 1 {
			return h, malformed("header " + quote(name) + " has two values")
		}
		if len(values) == 0 {
			continue
		}
		lower := strings.ToLower(name)
		if lower == "content-type" {
			contentTypes++
			h.contentType = strings.TrimSpace(values[0])
		}
		if at, ok := strings.CutPrefix(lower, headerPrefix); ok {
			h.attributes = append(h.attributes, attribute{at, values[0]})
		}
	}
	if contentTypes > 1 {
		return h, malformed("header Content-Type is there twice")
	}
	return h, nil
}

func decodeStructured(contentType string, body []byte) (event.Event, error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return event.Event{}, malformed("content type is not a media type")
	}
	if mediaType != structuredJSON && mediaType != structuredType {
		return event.Event{}, malformed("content type " + quote(mediaType) + " is not supported")
	}
	if charset, ok := params["charset"]; ok && charset != "utf-8" && charset != "us-ascii" {
		return event.Event{}, malformed("charset " + quote(charset) + " is not supported")
	}
	return UnmarshalJSON(body)
}

func decodeBinary(h header, data []byte) (event.Event, error) {
	var a attributes
	for _, at := range h.attributes {
		value, err := percentDecode(at.value)
		if err != nil {
			return event.Event{}, malformed("header " + quote(headerPrefix+at.name) + " " + err.Error())
		}
		if err := a.set(at.name, value); err != nil {
			return event.Event{}, err
		}
	}
	// Not of the binding, but of many producers who know HTTP's.
	if a.ec.DataContentType == nil && h.contentType != "" {
		if err := a.set("datacontenttype", h.contentType); err != nil {
			return event.Event{}, err
		}
	}
	return a.event(data)
}
