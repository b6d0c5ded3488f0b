//go:build !unix

package secret

import "os"

// Outside of Unix nothing keeps two commands from changing a keyset at once: good
// for development, not for production.

func lock(string) (unlock func(), err error) { return func() {}, nil }

func sameOwner(*os.File, string) error { return nil }
