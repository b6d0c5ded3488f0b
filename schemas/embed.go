// Package schemas holds the JSON Schema of every event version, with examples
// beside each, and the AsyncAPI description of the bus. A schema's $id is the
// dataschema of the events it describes, and its path below FS is that URI's.
package schemas

import "embed"

// Base is what comes before a path of FS in the $id of a schema.
const Base = "https://postbus.dev/schemas/"

// FS holds <type>/<version>.json, the examples below
// <type>/<version>/{valid,invalid}/, and asyncapi.yaml.
//
//go:embed publish.requested
var FS embed.FS
