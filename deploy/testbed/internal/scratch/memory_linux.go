package scratch

import "syscall"

const (
	tmpfs      = 0x01021994 // the file system's magic number
	enoughRoom = 4 << 30    // bytes; containers often have 64 MB there
)

// roomy tells whether dir is in memory and has enough room for tests.
func roomy(dir string) bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return false
	}
	return fs.Type == tmpfs && fs.Bavail*uint64(fs.Bsize) >= enoughRoom && syscall.Access(dir, 2) == nil
}
