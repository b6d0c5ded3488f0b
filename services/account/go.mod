module postbus.dev/services/account

go 1.26.4

require (
	postbus.dev/events v0.0.0
	postbus.dev/services/connectors v0.0.0
	postbus.dev/services/internal v0.0.0
	postbus.dev/schemas v0.0.0
	postbus.dev/migrations v0.0.0
	postbus.dev/deploy/testbed v0.0.0
)

replace (
	postbus.dev/events => ../../events
	postbus.dev/services/connectors => ../../services/connectors
	postbus.dev/services/internal => ../../services/internal
	postbus.dev/schemas => ../../schemas
	postbus.dev/migrations => ../../migrations
	postbus.dev/deploy/testbed => ../../deploy/testbed
)
