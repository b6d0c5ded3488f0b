// Package refresh keeps grants alive: it takes the accounts whose turn has come,
// asks their providers for new tokens, and stores what came of it with its event.
//
// A Runner keeps no truth of its own and reads no clock but for how long
// something took: when an account is due, when a lease ends and when an unanswered
// refresh is quiet, the database decides by its clock. Any number of processes
// work side by side; a claim's lease is what no other claim has, and a write of
// whoever lost it moves nothing.
//
// # What is left
//
// A provider that rotates burns the refresh token with the call that uses it. Such
// a call is made like the commit of a post: first send_by and quiet_at are stored
// (that write is the proof, less than a second old, that the answer can be stored
// too), then it is sent, once, on a connection of its own. From then on the new
// tokens exist in one place, the memory of this process, until they are stored:
// the write is tried as long as the process lives, and a shutdown waits for it.
//
// If the process dies in that moment, or the answer never reaches it, nobody can
// say which of the two refresh tokens is good. Nothing is sent before quiet_at;
// then the old one is tried once more. Where the provider had carried out the first
// call it refuses, and the account is lost to us: it is reported as
// account.reauth_required, saying so, and counted apart
// (postbus.refresh.unanswered). No mechanism on our side can take this window
// away; it is a provider's promise to take the last token once more that would.
package refresh
