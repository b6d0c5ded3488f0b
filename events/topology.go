package events

import (
	"cmp"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The streams and consumers.
const (
	StreamPublish    = "PUBLISH"
	StreamAccount    = "ACCOUNT"
	StreamDeadLetter = "DEADLETTER"

	ConsumerPublisher         = "publisher"          // of the publisher service, on PUBLISH
	ConsumerPublisherAccounts = "publisher-accounts" // of the publisher service, on ACCOUNT
	ConsumerAccount           = "account"            // of the account service, on ACCOUNT
	ConsumerTokenRefresher    = "token-refresher"    // of the token-refresher, on ACCOUNT
)

// DeadLetterPrefix stands before the subject of an event that could not be
// handled.
const DeadLetterPrefix = "deadletter."

// Stream is a stream as it must exist, every setting stated as the server
// reports it, so that it can be compared.
type Stream struct {
	jetstream.StreamConfig
	Consumers []Consumer
}

// Consumer is a durable pull consumer as it must exist.
type Consumer struct {
	Stream string // the stream's name
	jetstream.ConsumerConfig
}

// TopologyOptions is what differs between installations.
type TopologyOptions struct {
	Replicas      int   // copies of each stream; default 1, production has 3
	MaxBytes      int64 // of PUBLISH, default 1 GiB; the other two get a quarter each
	MaxAckPending int   // events that a consumer may have unacked; default 2048
}

// Topology declares all streams and their consumers. A full stream refuses what
// is new: it is felt upstream and in the outbox, and nothing is lost.
func Topology(o TopologyOptions) []Stream {
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.MaxBytes = cmp.Or(o.MaxBytes, 1<<30)
	o.MaxAckPending = cmp.Or(o.MaxAckPending, 2048)

	publish := o.stream(StreamPublish, o.MaxBytes, "publish.>")
	publish.Consumers = []Consumer{
		o.consumer(StreamPublish, ConsumerPublisher, TypePublishRequested, TypePublishCancelRequested, TypePublishProviderNotified),
	}
	account := o.stream(StreamAccount, o.MaxBytes/4, "account.>", "token.>")
	account.Consumers = []Consumer{
		o.consumer(StreamAccount, ConsumerPublisherAccounts, TypeAccountDisconnecting, TypeAccountConnected, TypeAccountRecovered, TypeTokenRefreshed),
		o.consumer(StreamAccount, ConsumerAccount, TypeAccountDrained),
		o.consumer(StreamAccount, ConsumerTokenRefresher, TypeTokenRefreshRequested),
	}
	deadLetter := o.stream(StreamDeadLetter, o.MaxBytes/4, DeadLetterPrefix+">")
	return []Stream{publish, account, deadLetter}
}

func (o TopologyOptions) stream(name string, maxBytes int64, subjects ...string) Stream {
	return Stream{StreamConfig: jetstream.StreamConfig{
		Name:               name,
		Subjects:           subjects,
		Retention:          jetstream.LimitsPolicy,
		Storage:            jetstream.FileStorage,
		Discard:            jetstream.DiscardNew,
		MaxAge:             14 * 24 * time.Hour,
		MaxBytes:           maxBytes,
		MaxMsgs:            -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Replicas:           o.Replicas,
		Duplicates:         10 * time.Minute,
		Compression:        jetstream.S2Compression,
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}}
}

func (o TopologyOptions) consumer(stream, name string, types ...string) Consumer {
	return Consumer{Stream: stream, ConsumerConfig: jetstream.ConsumerConfig{
		Name:           name,
		Durable:        name,
		FilterSubjects: types,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        10 * time.Second, // what a dead process had comes back after it; handlers in progress extend it
		MaxDeliver:     -1,               // the subscriber decides what is a dead letter
		MaxAckPending:  o.MaxAckPending,
		MaxWaiting:     512,
		ReplayPolicy:   jetstream.ReplayInstantPolicy,
	}}
}
