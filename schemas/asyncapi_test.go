package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"postbus.dev/events"
	"postbus.dev/events/eventstest"
	"postbus.dev/schemas"
)

// asyncAPI is the part of the document that must agree with the code.
type asyncAPI struct {
	Streams  map[string]stream `yaml:"x-streams"`
	Channels map[string]struct {
		Address  string         `yaml:"address"`
		Messages map[string]ref `yaml:"messages"`
	} `yaml:"channels"`
	Operations map[string]struct {
		Action   string `yaml:"action"`
		Channel  ref    `yaml:"channel"`
		Messages []ref  `yaml:"messages"`
	} `yaml:"operations"`
	Components struct {
		Messages map[string]struct {
			Name    string `yaml:"name"`
			Traits  []ref  `yaml:"traits"`
			Payload struct {
				Schema ref `yaml:"schema"`
			} `yaml:"payload"`
		} `yaml:"messages"`
		Traits map[string]struct {
			Headers struct {
				Properties map[string]any `yaml:"properties"`
			} `yaml:"headers"`
		} `yaml:"messageTraits"`
	} `yaml:"components"`
}

type ref struct {
	Ref string `yaml:"$ref"`
}

type stream struct {
	Subjects        []string            `yaml:"subjects"`
	Storage         string              `yaml:"storage"`
	Retention       string              `yaml:"retention"`
	Discard         string              `yaml:"discard"`
	MaxAge          string              `yaml:"maxAge"`
	DuplicateWindow string              `yaml:"duplicateWindow"`
	Compression     string              `yaml:"compression"`
	AllowDirect     bool                `yaml:"allowDirect"`
	AllowAtomic     bool                `yaml:"allowAtomic"`
	Consumers       map[string]consumer `yaml:"consumers"`
}

type consumer struct {
	FilterSubjects []string `yaml:"filterSubjects"`
	AckPolicy      string   `yaml:"ackPolicy"`
	AckWait        string   `yaml:"ackWait"`
	MaxDeliver     int      `yaml:"maxDeliver"`
}

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	raw, err := schemas.FS.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestAsyncAPIDescribesEveryEventTypeByItsSchema(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	want := slices.Sorted(maps.Keys(eventstest.Zero()))
	if got := slices.Sorted(maps.Keys(doc.Channels)); !slices.Equal(got, want) {
		t.Errorf("channels are %q, types are %q", got, want)
	}
	for name, c := range doc.Channels {
		if c.Address != name || len(c.Messages) != 1 {
			t.Errorf("channel %s has address %s and %d messages", name, c.Address, len(c.Messages))
		}
		for key, m := range c.Messages {
			message := doc.Components.Messages[key]
			if m.Ref != "#/components/messages/"+key || message.Name != name || message.Payload.Schema.Ref != "./"+name+"/1.0.json" {
				t.Errorf("channel %s leads by %s to %s of %s", name, m.Ref, message.Payload.Schema.Ref, message.Name)
			}
			if len(message.Traits) != 1 || message.Traits[0].Ref != "#/components/messageTraits/cloudEvent" {
				t.Errorf("%s has traits %v", name, message.Traits)
			}
		}
	}
}

func TestAsyncAPIReceivesWhatUpstreamSendsAndSendsTheRest(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	actions := map[string]string{}
	for key, o := range doc.Operations {
		name := strings.TrimPrefix(o.Channel.Ref, "#/channels/")
		actions[name] = o.Action
		if len(o.Messages) != 1 || o.Messages[0].Ref != o.Channel.Ref+"/messages/"+key {
			t.Errorf("%s has messages %v", key, o.Messages)
		}
	}
	for name := range eventstest.Zero() {
		want := "send"
		if name == events.TypePublishRequested || name == events.TypePublishCancelRequested {
			want = "receive"
		}
		if actions[name] != want {
			t.Errorf("%s: action is %q, want %s", name, actions[name], want)
		}
	}
}

func TestAsyncAPINamesEveryHeaderOfOurEvents(t *testing.T) {
	t.Parallel()
	described := readAsyncAPI(t).Components.Traits["cloudEvent"].Headers.Properties
	e, err := events.New(events.Meta{
		Source: "/a", Subject: "s", PartitionKey: "p", Sequence: 1, TraceParent: "t", TraceState: "u", CorrelationID: "c", CausationID: "d",
	}, events.PublishCancelRequested{RequestSource: "/a", RequestID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	for name := range m.Header {
		if _, ok := described[name]; !ok {
			t.Errorf("%s is not described", name)
		}
	}
}

func TestAsyncAPITellsTheStreamsThatServicesCreate(t *testing.T) {
	t.Parallel()
	want := map[string]stream{}
	for _, s := range events.Topology(events.TopologyOptions{}) {
		d := stream{
			Subjects: s.Subjects, Storage: word(s.Storage), Retention: word(s.Retention), Discard: word(s.Discard), MaxAge: s.MaxAge.String(),
			DuplicateWindow: s.Duplicates.String(), Compression: word(s.Compression), AllowDirect: s.AllowDirect, AllowAtomic: s.AllowAtomicPublish,
			Consumers: map[string]consumer{},
		}
		for _, c := range s.Consumers {
			d.Consumers[c.Durable] = consumer{FilterSubjects: c.FilterSubjects, AckPolicy: word(c.AckPolicy), AckWait: c.AckWait.String(), MaxDeliver: c.MaxDeliver}
		}
		want[s.Name] = d
	}
	got := readAsyncAPI(t).Streams
	for name := range want {
		g, w := fmt.Sprintf("%+v", got[name]), fmt.Sprintf("%+v", want[name])
		if g != w {
			t.Errorf("%s is\n%s, services create\n%s", name, g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d streams are told, %d are created", len(got), len(want))
	}
}

// word is what the JSON form of a setting says.
func word(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.Trim(string(raw), `"`)
}
