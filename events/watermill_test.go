package events_test

import (
	"maps"
	"testing"

	jsm "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"postbus.dev/events"
	"postbus.dev/events/eventstest"
)

var (
	_ wmnats.MarshalerUnmarshaler = events.Codec{}
	_ jsm.Unmarshaler             = events.JetStreamCodec{}
)

func TestCodecCarriesAnyEventThroughWatermill(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := eventstest.Event(t)
		sent, err := events.ToMessage(e)
		if err != nil {
			t.Fatal(err)
		}
		wire, err := events.Codec{}.Marshal(e.Type(), sent)
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.Codec{}.Unmarshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equals(sent) {
			t.Fatalf("%v %q became %v %q", sent.Metadata, sent.Payload, got.Metadata, got.Payload)
		}
		back, err := events.FromMessage(got)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, back, e)
	})
}

func TestCodecWritesTheSameMessageAsEncode(t *testing.T) {
	t.Parallel()
	e := sendableEvent()
	e.SetSubject("ä b")
	e.DataEncoded = []byte("x")
	sent, err := events.ToMessage(e)
	if err != nil {
		t.Fatal(err)
	}
	sent.Metadata["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	sent.Metadata["_internal"], sent.Metadata["Nats-Expected-Stream"], sent.Metadata["evil"], sent.Metadata["evil: x"] = "x", "x", "a\r\nb: c", "x"
	got, err := events.Codec{}.Marshal("topic", sent)
	if err != nil {
		t.Fatal(err)
	}
	want, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	want.Header["traceparent"] = []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	if !maps.EqualFunc(got.Header, want.Header, func(a, b []string) bool { return a[0] == b[0] }) || string(got.Data) != "x" || got.Subject != "topic" {
		t.Errorf("message is %q on %s, want %q", got.Header, got.Subject, want.Header)
	}
}

func TestHopHeadersBecomeMetadata(t *testing.T) {
	t.Parallel()
	h := headers()
	h["Traceparent"], h["Nats-Msg-Id"], h["_watermill_message_uuid"] = []string{"hop"}, []string{"x"}, []string{"y"}
	got, err := events.Codec{}.Unmarshal(&nats.Msg{Header: h, Data: []byte("d")})
	if err != nil {
		t.Fatal(err)
	}
	want := message.Metadata{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t", "Traceparent": "hop"}
	if !maps.Equal(got.Metadata, want) || got.UUID != "1" || string(got.Payload) != "d" {
		t.Errorf("message %s has %v and %q", got.UUID, got.Metadata, got.Payload)
	}
}

func TestUnmarshalAlwaysReturnsAMessage(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "malformed.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			m := v.message(t)
			got, err := events.Codec{}.Unmarshal(m)
			if err != nil || got == nil {
				t.Fatalf("got %v, %v", got, err)
			}
			if got.Metadata[events.MetaMalformed] == "" || got.UUID == "" || string(got.Payload) != string(m.Data) {
				t.Errorf("message %q has %v and %q", got.UUID, got.Metadata, got.Payload)
			}
			_, err = events.FromMessage(got)
			if reason := wantMalformed(t, err); reason != got.Metadata[events.MetaMalformed] {
				t.Errorf("reason is %q, metadata has %q", reason, got.Metadata[events.MetaMalformed])
			}
			if _, err := (events.Codec{}).Marshal("t", got); err == nil {
				t.Error("a malformed message can be sent on as an event")
			}
		})
	}
}

func TestNobodyElseCanMarkAMessageMalformed(t *testing.T) {
	t.Parallel()
	h := headers()
	h[events.MetaMalformed] = []string{"x"}
	got, err := events.Codec{}.Unmarshal(&nats.Msg{Header: h})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.FromMessage(got); err != nil {
		t.Error(err)
	}
}

// jsMsg is the part of a JetStream message that a codec reads.
type jsMsg struct {
	jetstream.Msg
	m *nats.Msg
}

func (j jsMsg) Subject() string      { return j.m.Subject }
func (j jsMsg) Reply() string        { return j.m.Reply }
func (j jsMsg) Headers() nats.Header { return j.m.Header }
func (j jsMsg) Data() []byte         { return j.m.Data }

func TestJetStreamCodecReadsTheSame(t *testing.T) {
	t.Parallel()
	good, err := events.JetStreamCodec{}.Unmarshal(jsMsg{m: &nats.Msg{Subject: "t", Header: headers(), Data: []byte("d")}})
	if err != nil || good.UUID != "1" || string(good.Payload) != "d" {
		t.Errorf("got %v (%v)", good, err)
	}
	bad, err := events.JetStreamCodec{}.Unmarshal(jsMsg{m: &nats.Msg{Subject: "other", Header: headers()}})
	if err != nil || bad.Metadata[events.MetaMalformed] == "" {
		t.Errorf("got %v (%v)", bad, err)
	}
}

// Programs of others use watermill-nats as it comes.
func TestStockMarshalerOfWatermillAndTheCodecReadEachOther(t *testing.T) {
	t.Parallel()
	e, err := events.New(events.Meta{Source: "/shop", Subject: "4711"}, events.PublishCancelRequested{PublishID: account})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := events.ToMessage(e)
	if err != nil {
		t.Fatal(err)
	}
	stock := &wmnats.NATSMarshaler{}
	body, err := events.MarshalJSON(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*message.Message{ours, message.NewMessage("their-uuid", body)} { // binary by metadata, structured by payload
		wire, err := stock.Marshal(e.Type(), m)
		if err != nil {
			t.Fatal(err)
		}
		read, err := events.Decode(wire)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, read, e)
	}
	wire, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := stock.Unmarshal(wire)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.Metadata["ce-id"] != e.ID() || theirs.Metadata["ce-source"] != "/shop" || string(theirs.Payload) != string(e.Data()) {
		t.Errorf("they read %v and %q", theirs.Metadata, theirs.Payload)
	}
}
