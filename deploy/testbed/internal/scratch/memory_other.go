//go:build unix && !linux

package scratch

func roomy(string) bool { return false }
