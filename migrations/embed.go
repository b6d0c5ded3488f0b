package migrations

import "embed"

//go:embed versions schema.sql
var embedded embed.FS
