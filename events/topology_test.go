package events_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

func TestStreamsLoseNothingSilently(t *testing.T) {
	t.Parallel()
	for _, s := range events.Topology(events.TopologyOptions{Replicas: 3, MaxBytes: 4000}) {
		if s.Storage != jetstream.FileStorage || s.Retention != jetstream.LimitsPolicy || s.Discard != jetstream.DiscardNew {
			t.Errorf("%s: storage %v, retention %v, discard %v", s.Name, s.Storage, s.Retention, s.Discard)
		}
		if s.MaxAge != 14*24*time.Hour || s.Duplicates != 10*time.Minute || s.Replicas != 3 {
			t.Errorf("%s: max age %v, duplicates %v, replicas %d", s.Name, s.MaxAge, s.Duplicates, s.Replicas)
		}
		if !s.AllowAtomicPublish || !s.AllowDirect || s.Compression != jetstream.S2Compression || s.NoAck {
			t.Errorf("%s: atomic %v, direct %v, compression %v, no ack %v", s.Name, s.AllowAtomicPublish, s.AllowDirect, s.Compression, s.NoAck)
		}
	}
}

func TestDefaultsOfTheTopology(t *testing.T) {
	t.Parallel()
	got := map[string]int64{}
	for _, s := range events.Topology(events.TopologyOptions{}) {
		got[s.Name] = s.MaxBytes
		if s.Replicas != 1 {
			t.Errorf("%s has %d replicas", s.Name, s.Replicas)
		}
	}
	if got[events.StreamPublish] != 1<<30 || got[events.StreamAccount] != 1<<28 || got[events.StreamDeadLetter] != 1<<28 {
		t.Errorf("max bytes are %v", got)
	}
}

func TestEveryEventTypeHasOneStreamAndEveryDeadLetterAnother(t *testing.T) {
	t.Parallel()
	types := []string{
		events.TypePublishRequested, events.TypePublishCancelRequested, events.TypePublishScheduled, events.TypePublishDelayed, events.TypePublishCompleted,
		events.TypePublishFailed, events.TypePublishCanceled, events.TypePublishUnconfirmed, events.TypePublishProviderNotified,
		events.TypeAccountConnected, events.TypeAccountDisconnecting, events.TypeAccountDrained, events.TypeAccountDisconnected, events.TypeAccountReauthRequired,
		events.TypeAccountExpiring, events.TypeAccountRecovered, events.TypeTokenRefreshRequested, events.TypeTokenRefreshed, events.TypeTokenRefreshFailed,
	}
	for _, eventType := range types {
		want := events.StreamAccount
		if strings.HasPrefix(eventType, "publish.") {
			want = events.StreamPublish
		}
		if got := streamsOf(eventType); !slices.Equal(got, []string{want}) {
			t.Errorf("%s goes to %q", eventType, got)
		}
		if got := streamsOf("deadletter." + eventType); !slices.Equal(got, []string{events.StreamDeadLetter}) {
			t.Errorf("dead letters of %s go to %q", eventType, got)
		}
	}
}

func streamsOf(subject string) (names []string) {
	for _, s := range events.Topology(events.TopologyOptions{}) {
		for _, filter := range s.Subjects {
			if strings.HasPrefix(subject, strings.TrimSuffix(filter, ">")) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

func TestEachServiceConsumesWhatIsItsOwnForEver(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"PUBLISH publisher":          {"publish.requested", "publish.cancel_requested", "publish.provider_notified"},
		"ACCOUNT publisher-accounts": {"account.disconnecting", "account.connected", "account.recovered", "token.refreshed"},
		"ACCOUNT account":            {"account.drained"},
		"ACCOUNT token-refresher":    {"token.refresh_requested"},
	}
	for _, s := range events.Topology(events.TopologyOptions{MaxAckPending: 7}) {
		for _, c := range s.Consumers {
			name := c.Stream + " " + c.Durable
			if c.Stream != s.Name || !slices.Equal(c.FilterSubjects, want[name]) {
				t.Errorf("%s of %s consumes %q, want %q", name, s.Name, c.FilterSubjects, want[name])
			}
			delete(want, name)
			if c.AckPolicy != jetstream.AckExplicitPolicy || c.MaxDeliver != -1 || c.AckWait != 10*time.Second || c.MaxAckPending != 7 || c.InactiveThreshold != 0 {
				t.Errorf("%s: ack %v, max deliver %d, ack wait %v, max ack pending %d, inactive threshold %v",
					name, c.AckPolicy, c.MaxDeliver, c.AckWait, c.MaxAckPending, c.InactiveThreshold)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not declared: %v", want)
	}
	if got := events.Topology(events.TopologyOptions{})[0].Consumers[0].MaxAckPending; got != 2048 {
		t.Errorf("default of max ack pending is %d", got)
	}
}
