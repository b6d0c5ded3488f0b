package events_test

import (
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

func headers() nats.Header {
	return nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/a"}, "ce-type": {"t"}}
}

func TestDataUpToTheLimitIsReadAndNotBeyond(t *testing.T) {
	t.Parallel()
	most := strings.Repeat("a", events.MaxData)
	for _, wrap := range []func(data string) *nats.Msg{
		func(data string) *nats.Msg { return &nats.Msg{Header: headers(), Data: []byte(data)} },
		func(data string) *nats.Msg {
			return &nats.Msg{Data: []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/plain","data":"` + data + `"}`)}
		},
	} {
		e, err := events.Decode(wrap(most))
		if err != nil || len(e.Data()) != events.MaxData {
			t.Errorf("%d bytes came as %d (%v)", len(most), len(e.Data()), err)
		}
		_, err = events.Decode(wrap(most + "a"))
		wantMalformed(t, err)
	}
	_, err := events.Decode(&nats.Msg{Data: []byte(`{"x":"` + most + most + `"}`)})
	wantMalformed(t, err)
	e := sendableEvent()
	e.DataEncoded = []byte(most + "a")
	_, err = events.Encode(e)
	wantMalformed(t, err)
}

func sendableEvent() event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("/a")
	e.SetType("t")
	return e
}

func TestEncodersRefuseWhatNoDecoderWouldTake(t *testing.T) {
	t.Parallel()
	broken := map[string]func(*event.Event){
		"no context":       func(e *event.Event) { e.Context = nil },
		"version 0.3":      func(e *event.Event) { e.SetSpecVersion(event.CloudEventsVersionV03) },
		"no id":            func(e *event.Event) { *e = event.New(); e.SetSource("/a"); e.SetType("t") },
		"no source":        func(e *event.Event) { *e = event.New(); e.SetID("1"); e.SetType("t") },
		"newline in type":  func(e *event.Event) { e.SetType("a\r\nb") },
		"control in ext":   func(e *event.Event) { e.SetExtension("x", "a\x00") },
		"another's schema": func(e *event.Event) { e.SetDataSchema(events.SchemaURI("publish.failed", "1.0")) },
		"long extension":   func(e *event.Event) { e.SetExtension("x", strings.Repeat("a", events.MaxAttribute+1)) },
	}
	for name, breakIt := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := sendableEvent()
			breakIt(&e)
			_, err := events.Encode(e)
			wantMalformed(t, err)
			_, err = events.EncodeStructured(e)
			wantMalformed(t, err)
			_, err = events.MarshalJSON(e)
			wantMalformed(t, err)
			_, err = events.ToMessage(e)
			wantMalformed(t, err)
		})
	}
}

func TestStructuredModeSaysItsContentType(t *testing.T) {
	t.Parallel()
	m, err := events.EncodeStructured(sendableEvent())
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Content-Type") != "application/cloudevents+json" || m.Header.Get("Nats-Msg-Id") != "/a/1" || m.Subject != "t" {
		t.Errorf("message is %q on %s", m.Header, m.Subject)
	}
}

func TestReadDataIsACopy(t *testing.T) {
	t.Parallel()
	body := []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{"a":1}}`)
	e, err := events.UnmarshalJSON(body)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	if string(e.Data()) != `{"a":1}` {
		t.Errorf("data is %q", e.Data())
	}
}
