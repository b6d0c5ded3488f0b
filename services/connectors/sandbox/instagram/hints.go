package instagram

import "postbus.dev/services/connectors/sandbox/stage"

// Hints is filled in beside the switches.
func (ig *Instagram) Hints() []stage.Hint { return nil }
