// Package events is the contract between Postbus and everybody who talks to it:
// what each event says, how it travels, and where it is kept.
//
// # Events
//
// An event is a CloudEvent 1.0. Its type, its NATS subject and its name are one
// string, such as "publish.requested"; the constants Type... list them all. The
// data of each type is a struct of this package; the JSON Schema of the same
// name and version describes the same bytes to people who do not write Go.
// What came from somebody else is read by ParsePublishRequested and DecodeData:
// they know every field, refuse all others, and name every fault at once.
//
// # Identity
//
// A publish is known before anybody has stored it: PublishID hashes the source
// and the id of its request. MsgID is the same pair as a Nats-Msg-Id.
//
// # Wire
//
// Encode writes binary mode: the attributes are ce-* headers and the payload is
// the data, so that "nats sub 'publish.>'" is readable. Decode reads that,
// structured mode, and structured JSON without any header, as a person sends it
// by hand. The rules are those of the NATS protocol binding of CloudEvents in
// its 1.0.3 working draft: values are percent-encoded, header names are compared
// without regard to case. (The binding of the CloudEvents Go SDK does neither,
// which is why there is a codec here.) The vectors in testdata are examples of both
// directions, and of what must be refused, that another implementation can run as
// well.
//
// MarshalJSON and UnmarshalJSON are the form in which events rest in an outbox;
// the data survives byte for byte.
//
// # Streams
//
// Topology declares every stream and consumer, and nothing else does.
package events
