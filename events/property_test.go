package events_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"postbus.dev/events"
	"postbus.dev/events/eventstest"
)

func TestAnyEventSurvivesEveryMode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := eventstest.Event(t)
		binary, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		structured, err := events.EncodeStructured(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*nats.Msg{binary, structured, {Data: structured.Data}} {
			back, err := events.Decode(m)
			if err != nil {
				t.Fatalf("%v: header %q, payload %q", err, m.Header, m.Data)
			}
			wantSame(t, back, e)
		}
		message, err := events.ToMessage(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := events.FromMessage(message)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, back, e)
	})
}

func TestHeadersHoldOnlyPrintableASCII(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, err := events.Encode(eventstest.Event(t))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range m.Header {
			for i := range len(values[0]) {
				if c := values[0][i]; c < '!' || c > '~' {
					t.Fatalf("header %s holds byte %#x", name, c)
				}
			}
		}
	})
}

func TestOutboxFormKeepsDataByteForByteThroughBinaryMode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := eventstest.Event(t)
		stored, err := events.MarshalJSON(e)
		if err != nil {
			t.Fatal(err)
		}
		read, err := events.UnmarshalJSON(stored)
		if err != nil {
			t.Fatalf("%v: %q", err, stored)
		}
		m, err := events.Encode(read)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != string(e.Data()) {
			t.Fatalf("data %q became %q", e.Data(), m.Data)
		}
		again, err := events.MarshalJSON(read)
		if err != nil || string(again) != string(stored) {
			t.Fatalf("%q became %q (%v)", stored, again, err)
		}
	})
}

func TestTwoIdentitiesNeverShareAMsgIDOrAPublishID(t *testing.T) {
	t.Parallel()
	part := rapid.StringMatching(`[a/%"é ]{0,5}`)
	rapid.Check(t, func(t *rapid.T) {
		s1, i1 := part.Draw(t, "source"), part.Draw(t, "id")
		s2, i2 := part.Draw(t, "other source"), part.Draw(t, "other id")
		same := s1 == s2 && i1 == i2
		if (events.MsgID(s1, i1) == events.MsgID(s2, i2)) != same {
			t.Fatalf("both are %s", events.MsgID(s1, i1))
		}
		if (events.PublishID(s1, i1) == events.PublishID(s2, i2)) != same {
			t.Fatalf("both are %s", events.PublishID(s1, i1))
		}
		source, id, ok := events.ParseMsgID(events.MsgID(s1, i1))
		if !ok || source != s1 || id != i1 {
			t.Fatalf("%q is read as %q and %q", events.MsgID(s1, i1), source, id)
		}
		u := events.PublishID(s1, i1)
		if u.Version() != 8 || u.Variant() != uuid.RFC4122 {
			t.Fatalf("%s has version %d, variant %s", u, u.Version(), u.Variant())
		}
	})
}

func TestWhatIsNoMsgIDOfOursIsToldApart(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "/a/%zz", "/a/b c", "/a%2f/b", "/a/%C0%A0"} {
		if source, id, ok := events.ParseMsgID(s); ok {
			t.Errorf("%q is read as %q and %q", s, source, id)
		}
	}
}
