// Package bus is the only package that speaks NATS. It runs handlers over
// JetStream consumers, publishes events, and carries the small messages that
// need no storage.
//
// # Consuming
//
// Run is watermill's Router over a pull subscriber of our own (subscriber.go),
// because the two that watermill-nats ships let messages wait in client buffers
// until they are delivered twice, crash or loop on what they cannot read, and
// drop the work in hand when they close. Ours:
//
//   - asks the server for exactly as many messages as it has free slots, in one
//     request per batch, so that nothing waits in a buffer while its ack runs out;
//   - tells the server every third of AckWait that a message is still in hand;
//   - does not run a message twice at once in this process, should the server
//     deliver it again meanwhile;
//   - drains on close: it stops pulling, hands back what no handler has yet, and
//     waits for the rest;
//   - finds out that its consumer is gone, ensures the declared topology and
//     binds again.
//
// An ack is sent without waiting for the server's answer. A lost one costs a
// redelivery, which the handler must be able to take anyway.
//
// # Outcomes
//
// A handler stores and returns, and its error says what happens next:
//
//   - nil: the message is done.
//   - Reject: it can never work; it goes to the dead letters at once.
//   - Unavailable: the database or another part of us is away. The message is not
//     to blame, so this counts for nothing. Pulling stops; one message stays in
//     hand and is tried again with growing pauses until it gets through, the others
//     go back to the server. Then pulling resumes. Should it be that one message
//     alone which finds something away, a second one, pulled after HoldTime, shows
//     it: then the first goes back too, and does not stop pulling again.
//   - anything else, a panic or a time-out included: the message failed by itself.
//     It comes back after a growing pause, and goes to the dead letters when it has
//     failed MaxFailures times.
//
// A message that cannot be decoded never reaches a handler and is a dead letter
// at once.
//
// # Counting
//
// The server counts deliveries, and those rise also when the database is away,
// when a process dies and when a handler is too slow. So the failures of a message
// are counted here, in memory, by its stream sequence, and so are the deliveries
// that Unavailable used up. A restart forgets both: a message then has MaxFailures
// tries again, in each process of a fleet. What no restart forgets is the server's
// number: a message delivered more than MaxDeliveries times, less those that this
// process excused, is a dead letter without another try. That bound is there for
// the message that kills the process before it can count. During an outage what is
// kept in hand is not delivered again and the rest is not pulled, so an outage costs
// a message one delivery per process however long it lasts.
//
// # Publishing
//
// Send is for single events in small numbers, PublishBatch and PublishOne for the
// outbox relay. The errors of these two say what the relay must know: whether the
// event is certainly not stored (ErrNotSent, ErrRefused, ErrTooLarge,
// ErrBatchDuplicate) or nobody can tell (ErrUnclear). Nothing is kept to be sent
// later: while the connection is down a publish fails at once.
package bus
