package instagram

import (
	_ "embed"
	"encoding/json"

	"postbus.dev/services/connectors/sandbox/stage"
)

// hints is the table of what is known of Instagram's misbehavior: every row of
// its error table and every other trait, each with the fault that plays it.
//
//go:embed hints.json
var hints []byte

// Hints map every row of the error table and every known trait to a fault.
func (ig *Instagram) Hints() []stage.Hint {
	var list []stage.Hint
	if err := json.Unmarshal(hints, &list); err != nil {
		panic("hints.json: " + err.Error()) // a test reads it
	}
	return list
}
