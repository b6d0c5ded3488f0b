package events_test

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// FuzzDecode: whatever comes off the bus, the codec answers with an event that
// survives being sent on, or with a reason.
func FuzzDecode(f *testing.F) {
	f.Add("", "", "", "", []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{}}`))
	f.Add("t", "ce-subject", "%C3%A9 \"x", "application/json", []byte(`{}`))
	f.Add("t", "CE-Time", "2018-04-05T17:31:00Z", "application/cloudevents+json; charset=utf-8", []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data_base64":"AA=="}`))
	f.Add("deadletter.t", "ce-", "\"\\", "text/plain", []byte("\xff"))
	f.Fuzz(func(t *testing.T, subject, name, value, contentType string, payload []byte) {
		h := nats.Header{}
		if name != "" {
			h = headers()
			h[name] = []string{value}
		}
		if contentType != "" {
			h["Content-Type"] = []string{contentType}
		}
		m := &nats.Msg{Subject: subject, Header: h, Data: payload}
		e, err := events.Decode(m)
		message, codecErr := events.Codec{}.Unmarshal(m)
		if codecErr != nil {
			t.Fatal(codecErr)
		}
		if err != nil {
			if reason := wantMalformed(t, err); message.Metadata[events.MetaMalformed] != reason || !utf8.ValidString(reason) {
				t.Fatalf("reason is %q and %q", reason, message.Metadata[events.MetaMalformed])
			}
			return
		}
		fromMessage, err := events.FromMessage(message)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, fromMessage, e)
		binary, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		structured, err := events.EncodeStructured(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, again := range []*nats.Msg{binary, structured} {
			back, err := events.Decode(again)
			if err != nil {
				t.Fatalf("%v: %q %q", err, again.Header, again.Data)
			}
			wantSame(t, back, e)
		}
	})
}

// FuzzParsePublishRequested: every answer is a request that comes back the same,
// or a report that can itself be sent.
func FuzzParsePublishRequested(f *testing.F) {
	f.Add([]byte(requestBody))
	f.Add([]byte(`{"mediaType":"CAROUSEL","children":[{"mediaType":"IMAGE","mediaUrl":"https://a"}],"provider":"p","userId":"u","options":{"a":[{}]}}`))
	f.Add([]byte("{\"\\ud800\":1,\"a\xff\":[{\"~/\":null}],\"options\":{\"\\u0000\":\"\\udc00\"}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := events.ParsePublishRequested(data)
		if err != nil {
			list := events.Violations(err)
			if len(list) == 0 {
				t.Fatalf("no violations: %v", err)
			}
			for _, v := range list {
				if !utf8.ValidString(v.Field+v.Message) || strings.Contains(v.Field+v.Message, "\x00") || v.Field != "" && v.Field[0] != '/' {
					t.Fatalf("violation %q", v)
				}
			}
			if _, err := events.New(events.Meta{Source: "/a"}, failed(list)); err != nil {
				t.Fatal(err)
			}
			return
		}
		e, err := events.New(events.Meta{Source: "/a"}, p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := events.ParsePublishRequested(e.Data())
		if err != nil {
			t.Fatalf("%s: %v", e.Data(), err)
		}
		again.Options, p.Options = nil, nil // its spaces go
		if !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}
