// Package process is what every service's main needs before and after its own
// work: settings from the environment, signals and exit codes, parts that start
// in order and stop in reverse, and an HTTP server with limits.
package process
