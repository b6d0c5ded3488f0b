//go:build !race

package refresh_test

// underRace: the race detector makes a run ten times slower.
const underRace = false
