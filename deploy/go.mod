module postbus.dev/deploy

go 1.26.4

require (
	postbus.dev/events v0.0.0
	postbus.dev/services/connectors v0.0.0
	postbus.dev/services/internal v0.0.0
	postbus.dev/schemas v0.0.0
	postbus.dev/migrations v0.0.0
	postbus.dev/services/account v0.0.0
	postbus.dev/services/publisher v0.0.0
	postbus.dev/deploy/testbed v0.0.0
)

replace (
	postbus.dev/events => ../events
	postbus.dev/services/connectors => ../services/connectors
	postbus.dev/services/internal => ../services/internal
	postbus.dev/schemas => ../schemas
	postbus.dev/migrations => ../migrations
	postbus.dev/services/account => ../services/account
	postbus.dev/services/publisher => ../services/publisher
	postbus.dev/deploy/testbed => ../deploy/testbed
)
