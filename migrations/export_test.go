package migrations

// The tests' own directories take the way of the embedded one.
var (
	ApplyFrom   = applyFrom
	InspectFrom = inspectFrom
)
