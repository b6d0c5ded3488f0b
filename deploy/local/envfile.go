package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
)

// envFile is in the data directory while the system runs: the settings for
// another publisher that works beside it, under the same role. That may read what
// is migrated, and no more: there is nothing left to migrate. A shell can source
// it.
const envFile = "env"

func (s *system) writeEnv() error {
	keyset, err := filepath.Abs(s.keyset())
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	var b strings.Builder
	for _, v := range [][2]string{
		{"DATABASE_URL", postgres.As(s.dsn, migrations.RolePublisher)}, {"NATS_URL", s.natsURL}, {"POSTBUS_KEYSET", keyset},
		{"POSTBUS_PUBLIC_URL", s.apiURL},
	} {
		b.WriteString(setting(v[0], v[1]))
	}
	for _, name := range slices.Sorted(maps.Keys(s.providers)) {
		b.WriteString(setting(name, s.getenv(name)))
	}
	if err := os.WriteFile(s.path(envFile), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

func setting(name, value string) string {
	return fmt.Sprintf("%s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
}

func (s *system) path(name string) string { return filepath.Join(s.cfg.dataDir, name) }
