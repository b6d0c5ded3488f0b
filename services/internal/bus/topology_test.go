package bus

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"postbus.dev/events"
)

func TestEnsureMakesTheTopologyOnceHoweverManyDo(t *testing.T) {
	t.Parallel()
	url := startServer(t).URL()
	var group sync.WaitGroup
	for range 6 {
		b, err := Connect(t.Context(), quick(url))
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			if err := b.Ensure(t.Context()); err != nil {
				t.Errorf("ensure: %v", err)
			}
			if err := b.Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	group.Wait()
	b := connect(t, quick(url))
	for _, s := range b.topology {
		if _, err := b.js.Stream(t.Context(), s.Name); err != nil {
			t.Errorf("stream %s: %v", s.Name, err)
		}
	}
	if info := consumerInfo(t, b); info.Config.MaxDeliver != -1 || info.Config.AckWait != b.topology[0].Consumers[0].AckWait {
		t.Errorf("consumer %+v", info.Config)
	}
}

func TestEnsureReportsDifferencesAndAltersNothing(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	stream := b.topology[0].StreamConfig
	stream.MaxAge = time.Hour
	stream.Duplicates = time.Minute
	stream.Metadata = map[string]string{"owner": "somebody"}
	if _, err := b.js.UpdateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	consumer := b.topology[0].Consumers[0].ConsumerConfig
	consumer.FilterSubjects = []string{events.TypePublishRequested}
	if _, err := b.js.UpdateConsumer(t.Context(), events.StreamPublish, consumer); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second time shows that the first has altered nothing
		var different *TopologyError
		if err := b.Ensure(t.Context()); !errors.As(err, &different) {
			t.Fatalf("error %v", err)
		}
		got := map[string][2]string{}
		for _, d := range different.Differences {
			got[d.Object+" "+d.Setting] = [2]string{d.Want, d.Got}
		}
		want := map[string][2]string{
			"stream PUBLISH max_age":             {"1209600000000000", "3600000000000"},
			"stream PUBLISH duplicate_window":    {"600000000000", "60000000000"},
			"stream PUBLISH metadata":            {"-", `{"owner":"somebody"}`},
			"consumer publisher filter_subjects": {`["publish.requested","publish.cancel_requested","publish.provider_notified"]`, `["publish.requested"]`},
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %v, want %v", k, got[k], v)
			}
		}
		if len(got) > len(want) {
			t.Errorf("differences %v", got)
		}
		if text := different.Error(); !strings.Contains(text, "stream PUBLISH: max_age is 3600000000000, declared is 1209600000000000") {
			t.Error(text)
		}
	}
}

func TestEventsAreHandledThoughTheTopologyDiffers(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	stream := b.topology[0].StreamConfig
	stream.MaxAge = time.Hour
	stream.Duplicates = time.Minute
	if _, err := b.js.UpdateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	db := newDatabase()
	run(t, b, publisher(db.insert))
	mustPublish(t, b, request("r-1"))
	eventually(t, "handled", func() bool { return db.got.len() == 1 })
}

func TestRunRefusesWhatItCannotRun(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	for name, hs := range map[string][]Handler{
		"no handler":       nil,
		"unknown consumer": {{Consumer: "nobody", Handle: newDatabase().insert}},
		"no function":      {{Consumer: events.ConsumerPublisher}},
	} {
		if err := b.Run(t.Context(), hs...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Connect(t.Context(), Config{URL: "nats://127.0.0.1:1"}); err == nil {
		t.Error("a bus without a name")
	}
}

func TestEnsureWithoutAServerIsAnError(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, quick(s.URL()))
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var different *TopologyError
	if err := b.Ensure(ctx); err == nil || errors.As(err, &different) {
		t.Errorf("error %v", err)
	}
}
