package e2e

import (
	"flag"
	"os"
	"testing"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/deploy/testbed"
)

func TestMain(m *testing.M) {
	world.Main()
	// These tests wait for leases, settle times and processes more than they
	// compute.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(testbed.Main(m))
}
