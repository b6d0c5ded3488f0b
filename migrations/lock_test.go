package migrations_test

import "hash/fnv"

// lockID is the advisory lock that the Atlas CLI takes as well.
func lockID() int64 {
	h := fnv.New32()
	h.Write([]byte("atlas_migrate_execute"))
	return int64(h.Sum32())
}
