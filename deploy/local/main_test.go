package main

import (
	"os"
	"testing"

	"postbus.dev/deploy/testbed"
)

// childEnv makes this program be the local system instead of its tests.
const childEnv = "POSTBUS_LOCAL_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(command(nil, os.Getenv, os.Stdout, os.Stderr))
	}
	os.Exit(testbed.Main(m))
}
