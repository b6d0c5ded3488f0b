package publisher

import "postbus.dev/services/publisher/internal/api"

// OpenAPI returns the OpenAPI 3.1 document of the publisher's HTTP API. It needs
// nothing but the code.
func OpenAPI() ([]byte, error) { return api.Document() }
