module postbus.dev/services/connectors

go 1.26.0
