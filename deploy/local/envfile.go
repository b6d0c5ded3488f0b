package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// envFile is in the data directory while the system runs: the settings for
// another process of a service that works beside it. A shell can source it.
const envFile = "env"

func (s *system) writeEnv() error {
	keyset, err := filepath.Abs(s.keyset())
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	var b strings.Builder
	for _, v := range [][2]string{
		{"DATABASE_URL", s.dsn}, {"NATS_URL", s.natsURL}, {"POSTBUS_KEYSET", keyset},
		{instagramURL, s.getenv(instagramURL)},
	} {
		fmt.Fprintf(&b, "%s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	if err := os.WriteFile(s.path(envFile), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

func (s *system) path(name string) string { return filepath.Join(s.cfg.dataDir, name) }
