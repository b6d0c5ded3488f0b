package events_test

import (
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

const requestBody = `{"mediaType":"IMAGE","mediaUrl":"https://media.example/a/0123456789.jpg","caption":"Fresh bread, every day from six o'clock \u2013 come and see","accountId":"0192f0c4-5b1e-7c3a-9a7e-3f1f6d2b8c11","publishAt":"2026-11-22T10:00:00Z"}`

func benchEvent(b *testing.B) event.Event {
	b.Helper()
	p, err := events.ParsePublishRequested([]byte(requestBody))
	if err != nil {
		b.Fatal(err)
	}
	e, err := events.New(events.Meta{
		Source: "/shop/campaigns", Subject: "0192f0c4-5b1e-7c3a-9a7e-3f1f6d2b8c11", Sequence: 3,
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", PartitionKey: "0192f0c4-5b1e-7c3a-9a7e-3f1f6d2b8c11",
	}, p)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func BenchmarkParsePublishRequested(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.ParsePublishRequested([]byte(requestBody)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	p, _ := events.ParsePublishRequested([]byte(requestBody))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.New(events.Meta{Source: "/shop/campaigns", Subject: "x"}, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := benchEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	m, err := events.Encode(benchEvent(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.Decode(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshalJSON(b *testing.B) {
	e := benchEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.MarshalJSON(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalJSON(b *testing.B) {
	body, err := events.MarshalJSON(benchEvent(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.UnmarshalJSON(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCodecUnmarshalAndFromMessage(b *testing.B) {
	m, err := events.Encode(benchEvent(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		msg, _ := events.Codec{}.Unmarshal(m)
		if _, err := events.FromMessage(msg); err != nil {
			b.Fatal(err)
		}
	}
}
