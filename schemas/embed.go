// Package schemas holds the JSON Schema of every event version, with examples
// beside each, and the AsyncAPI description of the bus. The $id of a schema is
// the dataschema of the events that it describes, and ends in its path here.
//
// A schema describes exactly its version: an unknown field is refused. A reader
// of events who wants to live with newer minor versions ignores what it does not
// know.
//
// The services do not run these schemas: they read events with the structs of
// postbus.dev/events, which a test here holds to the schemas in both directions.
package schemas

import "embed"

// Base is what comes before a path of FS in the $id of a schema.
const Base = "https://postbus.dev/schemas/"

// FS holds <type>/<version>.json, the examples of each below
// <type>/<version>/valid/ and <type>/<version>/invalid/, and asyncapi.yaml.
//
//go:embed account.* publish.* token.* asyncapi.yaml
var FS embed.FS

// OpenAPI is the OpenAPI 3.1 document of all services, made of their code by make
// generate.
//
//go:embed openapi.json
var OpenAPI []byte
