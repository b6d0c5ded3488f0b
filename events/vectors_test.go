package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// vector is an example of testdata. Which fields it has depends on the file.
type vector struct {
	Name          string          `json:"name"`
	Subject       string          `json:"subject"`
	Headers       json.RawMessage `json:"headers"` // values: strings in encode.json, lists of strings elsewhere
	Payload       string          `json:"payload"`
	PayloadBase64 []byte          `json:"payloadBase64"`
	Event         json.RawMessage `json:"event"` // JSON format of CloudEvents
	Why           string          `json:"why"`

	Source    string `json:"source"`
	ID        string `json:"id"`
	PublishID string `json:"publishId"`
	NatsMsgID string `json:"natsMsgId"`
}

func (v vector) payload() []byte {
	if v.PayloadBase64 != nil {
		return v.PayloadBase64
	}
	return []byte(v.Payload)
}

func (v vector) message(t *testing.T) *nats.Msg {
	t.Helper()
	return &nats.Msg{Subject: v.Subject, Header: parse[nats.Header](t, v.Headers), Data: v.payload()}
}

func readVectors(t *testing.T, file string) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return parse[struct{ Vectors []vector }](t, raw).Vectors
}

func parse[T any](t *testing.T, raw []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// compact is the event of a vector without the spaces that make it readable.
func (v vector) compact(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, v.Event); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (v vector) readEvent(t *testing.T) event.Event {
	t.Helper()
	e, err := events.UnmarshalJSON(v.compact(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEncodeWritesTheVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "encode.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			m, err := events.Encode(v.readEvent(t))
			if err != nil {
				t.Fatal(err)
			}
			want := parse[map[string]string](t, v.Headers)
			for name, values := range m.Header {
				if len(values) != 1 || values[0] != want[name] {
					t.Errorf("header %s is %q, want %q", name, values, want[name])
				}
				delete(want, name)
			}
			if len(want) > 0 {
				t.Errorf("headers are missing: %q", want)
			}
			if m.Subject != v.Subject || string(m.Data) != string(v.payload()) {
				t.Errorf("message is %q on %s, want %q on %s", m.Data, m.Subject, v.payload(), v.Subject)
			}
		})
	}
}

func TestEveryModeBringsTheVectorsBack(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "encode.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			e := v.readEvent(t)
			binary, err := events.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			structured, err := events.EncodeStructured(e)
			if err != nil {
				t.Fatal(err)
			}
			byHand := &nats.Msg{Subject: structured.Subject, Data: structured.Data}
			for _, m := range []*nats.Msg{binary, structured, byHand} {
				back, err := events.Decode(m)
				if err != nil {
					t.Fatal(err)
				}
				wantSame(t, back, e)
			}
		})
	}
}

func TestDecodeReadsTheVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "decode.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			got, err := events.Decode(v.message(t))
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, got, v.readEvent(t))
		})
	}
}

func TestDecodeRefusesTheMalformedVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "malformed.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			got, err := events.Decode(v.message(t))
			if reason := wantMalformed(t, err); !strings.Contains(reason, v.Why) {
				t.Errorf("reason is %q, want %q", reason, v.Why)
			}
			if got.Context != nil {
				t.Errorf("an event came with the error: %v", got)
			}
		})
	}
}

func TestIDsAreThoseOfTheVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "ids.json") {
		if got := events.PublishID(v.Source, v.ID).String(); got != v.PublishID {
			t.Errorf("PublishID(%q, %q) is %s, want %s", v.Source, v.ID, got, v.PublishID)
		}
		if got := events.MsgID(v.Source, v.ID); got != v.NatsMsgID {
			t.Errorf("MsgID(%q, %q) is %s, want %s", v.Source, v.ID, got, v.NatsMsgID)
		}
	}
}

// wantSame compares two events: the same attributes in their canonical form, the
// same bytes of data.
func wantSame(t tester, got, want event.Event) {
	t.Helper()
	if g, w := attributes(t, got), attributes(t, want); !slices.Equal(g, w) {
		t.Errorf("attributes are\n%q, want\n%q", g, w)
	}
	if string(got.Data()) != string(want.Data()) {
		t.Errorf("data is %q, want %q", got.Data(), want.Data())
	}
}

func attributes(t tester, e event.Event) []string {
	t.Helper()
	list := []string{
		"specversion=" + e.SpecVersion(), "id=" + e.ID(), "source=" + e.Source(), "type=" + e.Type(), "subject=" + e.Subject(),
		"datacontenttype=" + e.DataContentType(), "dataschema=" + e.DataSchema(), "time=" + types.FormatTime(e.Time()),
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, name+"="+text)
	}
	slices.Sort(list)
	return list
}

func wantMalformed(t tester, err error) (reason string) {
	t.Helper()
	me, ok := errors.AsType[*events.MalformedError](err)
	if !ok {
		t.Fatalf("error is %v, want a *MalformedError", err)
	}
	if me.Reason == "" {
		t.Error("no reason is given")
	}
	return me.Reason
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}
