module postbus.dev/deploy/testbed

go 1.26.0

require (
	postbus.dev/events v0.0.0
	postbus.dev/migrations v0.0.0
)

replace (
	postbus.dev/events => ../../events
	postbus.dev/migrations => ../../migrations
)
