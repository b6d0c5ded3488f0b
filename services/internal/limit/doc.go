// Package limit holds back work that would be refused: gates, which are closed
// until a time, and budgets, which count what a fleet of processes uses.
//
// # Gates
//
// A rate limit that a provider reports, an exhausted quota, an outage and an
// operator's pause are one thing: a row of the table gates that says whom it
// stops, why and until when. Several reasons may stop the same one; it goes on
// when none is left. Everything that starts work reads them, in SQL (Ungated)
// or from a list it keeps for a moment (Active).
//
// # Budgets
//
// A budget allows a number of uses in any period of a given length, wherever
// that period begins. Time is cut into windows of a tenth of the period, and
// what counts against the limit is the current window and the ten before it.
// Between two uses that are a period or less apart lie at most ten window
// borders, so that the later one was counted together with the earlier: no
// period, wherever it begins, holds more uses than the limit. The price is
// that a use counts for up to eleven tenths of the period.
//
// Processes agree on it by a lock of the budget's key, which is taken by a
// statement of its own in the same round trip: a statement sees what was
// committed before it began, so that one which took the lock itself and waited
// for it would count without the uses that it waited for. All times are the
// database's clock, read under that lock; should it step back, windows that
// lie ahead count too.
//
// Where a commit for each use would be too dear, an Ahead takes a tenth of what
// is left at a time, for a window: the fleet keeps within the limit all the
// same, and what a process took and did not use in that window is lost.
package limit
