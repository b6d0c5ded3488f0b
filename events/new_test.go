package events_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/events/eventstest"
)

func TestNewSetsEveryAttribute(t *testing.T) {
	t.Parallel()
	p := events.PublishRequested{MediaType: "IMAGE", MediaURL: "https://example.com/?a=1&b=<2>", AccountID: account}
	e, err := events.New(events.Meta{
		ID: "id-1", Source: "/postbus/publisher", Subject: "sub", Time: time.Date(2026, 11, 22, 11, 0, 0, 123456789, time.FixedZone("", 3600)),
		PartitionKey: "pk", Sequence: 42, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "a=b", CorrelationID: "cor", CausationID: "cau",
	}, p)
	if err != nil {
		t.Fatal(err)
	}
	m, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Nats-Msg-Id": "/postbus/publisher/id-1", "ce-specversion": "1.0", "ce-id": "id-1", "ce-source": "/postbus/publisher", "ce-type": "publish.requested",
		"ce-subject": "sub", "ce-time": "2026-11-22T10:00:00.123456789Z", "ce-datacontenttype": "application/json",
		"ce-dataschema": "https://postbus.dev/schemas/publish.requested/1.0.json", "ce-partitionkey": "pk", "ce-sequence": "00000000000000000042",
		"ce-traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "ce-tracestate": "a=b", "ce-correlationid": "cor", "ce-causationid": "cau",
	}
	for name, value := range want {
		if got := m.Header[name]; len(got) != 1 || got[0] != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if len(m.Header) != len(want) || m.Subject != "publish.requested" {
		t.Errorf("header is %q on subject %s", m.Header, m.Subject)
	}
	if want := `{"mediaType":"IMAGE","mediaUrl":"https://example.com/?a=1&b=<2>","accountId":"` + account + `"}`; string(m.Data) != want {
		t.Errorf("data is %s, want %s", m.Data, want)
	}
}

func TestNewMakesAnIDAndATimeAndLeavesOutWhatIsEmpty(t *testing.T) {
	t.Parallel()
	before := time.Now()
	e, err := events.New(events.Meta{Source: "/a"}, events.PublishCancelRequested{PublishID: account})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := uuid.Parse(e.ID()); err != nil || id.Version() != 7 {
		t.Errorf("id is %s", e.ID())
	}
	if e.Time().Before(before.Add(-time.Second)) || e.Time().After(time.Now().Add(time.Second)) {
		t.Errorf("time is %s", e.Time())
	}
	if len(e.Extensions()) != 0 || e.Subject() != "" {
		t.Errorf("extensions are %v, subject is %q", e.Extensions(), e.Subject())
	}
}

func TestNewRefusesWhatNobodyCouldRead(t *testing.T) {
	t.Parallel()
	valid := events.PublishCancelRequested{PublishID: account}
	for _, m := range []events.Meta{
		{}, {Source: "/a b"}, {Source: "/a", ID: "a\nb"}, {Source: "/a", Subject: "\xff"}, {Source: "/a", ID: strings.Repeat("a", events.MaxID+1)},
		{Source: "/a", TraceState: strings.Repeat("a", events.MaxAttribute+1)},
	} {
		_, err := events.New(m, valid)
		wantMalformed(t, err)
	}
	if _, err := events.New(events.Meta{Source: "/a"}, events.PublishCancelRequested{}); len(events.Violations(err)) != 1 {
		t.Errorf("error is %v", err)
	}
	if _, err := events.New(events.Meta{Source: "/a"}, events.PublishFailed{}); len(events.Violations(err)) != 4 {
		t.Errorf("error is %v", err)
	}
}

func TestEveryEmptyDataIsInvalid(t *testing.T) {
	t.Parallel()
	for name, d := range eventstest.Zero() {
		if events.Violations(d.Validate()) == nil {
			t.Errorf("an empty %s is valid", name)
		}
	}
}

// What a provider answers is not ours to choose, and must not keep the outcome
// of a publish from being told.
func TestForeignTextCannotKeepAnEventFromBeingSent(t *testing.T) {
	t.Parallel()
	d := failed(nil)
	d.Message, d.ProviderCode = "a\x00b\\u0000", "\xff<&>"
	e, err := events.New(events.Meta{Source: "/a"}, d)
	if err != nil {
		t.Fatal(err)
	}
	var got events.PublishFailed
	if err := events.DecodeData(e, &got); err != nil {
		t.Fatal(err)
	}
	if got.Message != "a\uFFFDb\\u0000" || got.ProviderCode != "\uFFFD<&>" {
		t.Errorf("got %q and %q", got.Message, got.ProviderCode)
	}
	c := completed()
	c.Metadata = json.RawMessage(`{"a\u0000":["\ud800",1.50,{"b":1,"b":2}]}`)
	if e, err = events.New(events.Meta{Source: "/a"}, c); err != nil {
		t.Fatal(err)
	}
	var back events.PublishCompleted
	if err := events.DecodeData(e, &back); err != nil || string(back.Metadata) != `{"a`+"\uFFFD"+`":["`+"\uFFFD"+`",1.50,{"b":2}]}` {
		t.Errorf("metadata is %s (%v)", back.Metadata, err)
	}
}

func completed() events.PublishCompleted {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	return events.PublishCompleted{
		PublishRef: events.PublishRef{PublishID: events.PublishID("/a", "1").String(), RequestSource: "/a", RequestID: "1", AccountID: account, Provider: "instagram"},
		MediaType:  "IMAGE", Attempts: 1, Timings: events.Timings{AcceptedAt: at, DueAt: at, ArmedAt: at, CompletedAt: at},
	}
}

func TestUnknownPostIDsAreNull(t *testing.T) {
	t.Parallel()
	e, err := events.New(events.Meta{Source: "/a"}, completed())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(e.Data()), `"postId":null,"permalink":null`) || strings.Contains(string(e.Data()), "publishedAt") {
		t.Errorf("data is %s", e.Data())
	}
	var got events.PublishCompleted
	if err := events.DecodeData(e, &got); err != nil || !reflect.DeepEqual(got, completed()) {
		t.Errorf("got %+v (%v)", got, err)
	}
}

func decodeEvent(t *testing.T, eventType, dataschema, data string) event.Event {
	t.Helper()
	e := event.New()
	e.SetID("1")
	e.SetSource("/a")
	e.SetType(eventType)
	if dataschema != "" {
		e.SetDataSchema(dataschema)
	}
	e.DataEncoded = []byte(data)
	return e
}

func TestDecodeDataIsStrictUnlessTheMinorVersionIsNewer(t *testing.T) {
	t.Parallel()
	ref := `"publishId":"` + account + `","requestSource":"/a","requestId":"1"`
	canceled, cancel := events.TypePublishCanceled, events.TypePublishCancelRequested
	for name, tt := range map[string]struct {
		e     event.Event
		into  events.Data
		field string // of the only violation; "" is none
	}{
		"no schema":                           {decodeEvent(t, canceled, "", `{`+ref+`}`), &events.PublishCanceled{}, ""},
		"our schema":                          {decodeEvent(t, canceled, events.SchemaURI(canceled, "1.0"), `{`+ref+`}`), &events.PublishCanceled{}, ""},
		"unknown field":                       {decodeEvent(t, canceled, events.SchemaURI(canceled, "1.0"), `{`+ref+`,"x":1}`), &events.PublishCanceled{}, "/x"},
		"unknown field without schema":        {decodeEvent(t, canceled, "", `{`+ref+`,"x":1}`), &events.PublishCanceled{}, "/x"},
		"unknown field of a newer version":    {decodeEvent(t, canceled, events.SchemaURI(canceled, "1.1"), `{`+ref+`,"x":1}`), &events.PublishCanceled{}, ""},
		"known field wrong in a newer":        {decodeEvent(t, canceled, events.SchemaURI(canceled, "1.1"), `{`+ref+`,"x":1,"reason":2}`), &events.PublishCanceled{}, "/reason"},
		"unknown field of a newer request":    {decodeEvent(t, cancel, events.SchemaURI(cancel, "1.1"), `{"publishId":"`+account+`","x":1}`), &events.PublishCancelRequested{}, "/x"},
		"a fault that Validate finds":         {decodeEvent(t, canceled, "", `{"publishId":"1","requestSource":"/a","requestId":"1"}`), &events.PublishCanceled{}, "/publishId"},
		"no data":                             {decodeEvent(t, canceled, "", ``), &events.PublishCanceled{}, "(all)"},
		"unknown field in a nested object":    {decodeEvent(t, events.TypePublishFailed, "", `{`+ref+`,"code":"X","message":"","retryable":false,"attempt":0,"violations":[{"field":"","rule":"r","message":"","x":1}]}`), &events.PublishFailed{}, "/violations/0/x"},
		"number with a fraction":              {decodeEvent(t, events.TypePublishFailed, "", `{`+ref+`,"code":"X","message":"","retryable":false,"attempt":1.5}`), &events.PublishFailed{}, "/attempt"},
		"boolean missing":                     {decodeEvent(t, events.TypePublishFailed, "", `{`+ref+`,"code":"X","message":"","attempt":0}`), &events.PublishFailed{}, "/retryable"},
		"publish id of a cancel of two minds": {decodeEvent(t, cancel, "", `{`+ref+`}`), &events.PublishCancelRequested{}, "/publishId"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := events.DecodeData(tt.e, tt.into)
			list := events.Violations(err)
			switch {
			case tt.field == "":
				if err != nil {
					t.Errorf("error is %v", err)
				}
			case len(list) != 1 || list[0].Field != strings.TrimPrefix(tt.field, "(all)"):
				t.Errorf("error is %v, want one at %s", err, tt.field)
			}
		})
	}
}

func TestDecodeDataRefusesAnotherTypeAndAnUnknownMajorVersion(t *testing.T) {
	t.Parallel()
	const data = `{"publishId":"` + account + `"}`
	for _, e := range []event.Event{
		decodeEvent(t, events.TypePublishFailed, "", data),
		decodeEvent(t, events.TypePublishCancelRequested, events.SchemaURI(events.TypePublishCancelRequested, "2.0"), data),
		decodeEvent(t, events.TypePublishCancelRequested, events.SchemaURI(events.TypePublishFailed, "1.0"), data),
		decodeEvent(t, events.TypePublishCancelRequested, events.SchemaBase+events.TypePublishCancelRequested+"/1.json", data),
	} {
		wantMalformed(t, events.DecodeData(e, &events.PublishCancelRequested{}))
	}
	wantMalformed(t, events.DecodeData(decodeEvent(t, events.TypePublishCancelRequested, "", data), events.PublishCancelRequested{})) // no pointer
}

func TestTheSequenceOfAnEventIsReadAsItWasGiven(t *testing.T) {
	t.Parallel()
	d := events.AccountDrained{AccountRef: events.AccountRef{AccountID: "0197e0c3-7a53-7d1c-9d63-1f0a3c0f5a01", Provider: "instagram"}}
	for _, want := range []int64{1, 42, 1 << 62} {
		e, err := events.New(events.Meta{Source: "/postbus/publisher", Sequence: want}, d)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := events.Sequence(e); !ok || got != want {
			t.Errorf("got %d, %v", got, ok)
		}
	}
	for _, text := range []string{"", "0", "-1", "x", "99999999999999999999"} {
		e, err := events.New(events.Meta{Source: "/postbus/publisher"}, d)
		if err != nil {
			t.Fatal(err)
		}
		if text != "" {
			e.SetExtension(events.ExtSequence, text)
		}
		if got, ok := events.Sequence(e); ok {
			t.Errorf("%q is %d", text, got)
		}
	}
}
