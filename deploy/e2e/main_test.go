package e2e

import (
	"os"
	"testing"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/deploy/testbed"
)

func TestMain(m *testing.M) {
	world.Main()
	os.Exit(testbed.Main(m))
}
