// Package outbox carries events from a transaction to the bus.
//
// # Appending
//
// An event is a row, written in the transaction of the change that it tells
// of: by Append, or by Rows and Columns in a grouped statement. The table is
// insert-only and partitioned by day; nothing marks or deletes a row, so that
// it has no dead tuples whatever the rate. After the commit, Poke wakes the
// relay. (NOTIFY inside the transaction would serialize all commits: it was
// measured to cut inserts to a third.)
//
// # The relay
//
// Each service relays its own rows. Every process of it runs a Relay, and the
// one that holds a session-level advisory lock sends; the others try for the
// lock. For each stream there is one cursor, the position (xid, id) up to which
// everything is on the stream.
//
// Three rules make it lose nothing:
//
//   - It reads only rows whose transaction is older than every transaction that
//     still runs (xid < pg_snapshot_xmin). Positions are given when a
//     transaction writes and become visible when it commits, so that without
//     this rule a row that commits late would lie behind the cursor for ever.
//     The price: a writing transaction that stays open anywhere in the cluster
//     holds the relay back. Sessions have timeouts for that, and the lag is
//     measured and alarmed.
//   - It moves the cursor only after the stream's acknowledgment.
//   - It moves the cursor on the very session that holds the lock, and that
//     session ends by itself after 15 idle seconds. A process that was paused
//     thus loses the lock and the ability to move the cursor in one instant.
//
// Two rules make it send nothing twice:
//
//   - The cursor remembers the stream's sequence of the last acknowledgment.
//     Whoever takes the lock, or does not know whether a send arrived, reads
//     the stream from there and skips the events that it already holds. The
//     cursor may therefore lag behind, and its commits need not be flushed.
//   - Each message carries its Nats-Msg-Id, which the server remembers for the
//     stream's duplicate window. This covers what no look at the stream can: the
//     packet of a paused process that is still under way.
//
// # Order
//
// Events of one stream are sent in the order of (xid, id), one batch after the
// other. Within a transaction that is the order of appending. Two transactions
// that wrote for the same CloudEvents subject are in the right order when the
// second began to write after the first had committed; where they raced, the
// "sequence" attribute is the truth.
//
// A stream that refuses blocks its own cursor only: it is tried again for as
// long as it takes, with an alarm. What could never be sent is refused by
// Append.
package outbox
