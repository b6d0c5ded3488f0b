package events_test

import (
	"bytes"
	"encoding/json"
	"testing"

	ce "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"postbus.dev/events"
	"postbus.dev/events/eventstest"
)

// The CloudEvents Go SDK is the other side of these tests. Its model and its JSON
// are used whole; its NATS binding only where it follows the specification: it
// neither encodes header values nor reads encoded ones.

func TestSDKReadsAndWritesTheSameJSON(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "encode.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			ours := v.readEvent(t)
			wantSame(t, throughSDK(t, ours), ours)
			theirs := parse[event.Event](t, v.compact(t))
			read, err := events.UnmarshalJSON(sdkJSON(t, theirs))
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, read, theirs)
		})
	}
}

func TestSDKCarriesRandomEventsOfThisContract(t *testing.T) {
	t.Parallel()
	for name, gen := range eventstest.All() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				e, err := events.New(events.Meta{Source: "/test", Subject: "s", Sequence: 7}, gen.Draw(t, "data"))
				if err != nil {
					t.Fatal(err)
				}
				wantSame(t, throughSDK(t, e), e)
				wantSame(t, throughSDKBinding(t, e), e)
			})
		})
	}
}

func TestMessagesOfTheSDKBindingAreRead(t *testing.T) {
	t.Parallel()
	e := event.New()
	e.SetID("1")
	e.SetSource("/shop")
	e.SetType(events.TypePublishRequested)
	e.SetSubject("needs no encoding")
	e.SetExtension("partitionkey", "17")
	if err := e.SetData(event.ApplicationJSON, map[string]string{"mediaType": "IMAGE"}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []func(t *testing.T) *nats.Msg{
		func(t *testing.T) *nats.Msg { return sdkMessage(t, binding.ToMessage(&e)) },
		func(t *testing.T) *nats.Msg { return &nats.Msg{Data: sdkJSON(t, e)} }, // structured, as the binding sends it
	} {
		got, err := events.Decode(mode(t))
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, got, e)
	}
}

// throughSDK has the SDK read our JSON and write its own.
func throughSDK(t tester, e event.Event) event.Event {
	t.Helper()
	body, err := events.MarshalJSON(e)
	if err != nil {
		t.Fatal(err)
	}
	var theirs event.Event
	if err := json.Unmarshal(body, &theirs); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if err := theirs.Validate(); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	back, err := events.UnmarshalJSON(sdkJSON(t, theirs))
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// throughSDKBinding has the SDK's binding read our binary message and write its
// own.
func throughSDKBinding(t tester, e event.Event) event.Event {
	t.Helper()
	m, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := binding.ToEvent(t.Context(), ce.NewMessage(m))
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, *theirs, e)
	back, err := events.Decode(sdkMessage(t, binding.ToMessage(theirs)))
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func sdkMessage(t tester, m binding.Message) *nats.Msg {
	t.Helper()
	var body bytes.Buffer
	header, err := ce.WriteMsg(t.Context(), m, &body)
	if err != nil {
		t.Fatal(err)
	}
	return &nats.Msg{Header: header, Data: body.Bytes()}
}

// sdkJSON is the SDK's own JSON; json.Marshal would rewrite the data in it.
func sdkJSON(t tester, e event.Event) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := event.WriteJson(&e, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
