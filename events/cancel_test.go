package events_test

import (
	"testing"

	"postbus.dev/events"
)

func TestACancelNamesItsPublishByIDOrByRequest(t *testing.T) {
	t.Parallel()
	want := events.PublishID("/shop", "4711")
	for _, c := range []events.PublishCancelRequested{
		{PublishID: want.String()},
		{RequestSource: "/shop", RequestID: "4711"},
		{PublishID: want.String(), RequestSource: "/shop", RequestID: "4711", Reason: "sold out"},
	} {
		if got, err := c.ID(); err != nil || got != want {
			t.Errorf("%+v names %s (%v), want %s", c, got, err, want)
		}
	}
}

func TestACancelThatNamesNoPublishOrTwoHasNoID(t *testing.T) {
	t.Parallel()
	for _, c := range []events.PublishCancelRequested{
		{}, {PublishID: "4711"}, {RequestSource: "/shop"}, {RequestID: "4711"},
		{PublishID: account, RequestID: "4711"},
		{PublishID: account, RequestSource: "/shop", RequestID: "4711"},
	} {
		if id, err := c.ID(); events.Violations(err) == nil {
			t.Errorf("%+v names %s", c, id)
		}
	}
}
