package account_test

import (
	"os"
	"testing"

	"postbus.dev/deploy/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }
