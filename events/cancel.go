package events

import (
	"fmt"

	"github.com/google/uuid"
)

// PublishCancelRequested asks to stop a publish that is not yet armed. It names
// the publish by PublishID, or by the source and id of its request, and may
// arrive before that request does.
type PublishCancelRequested struct {
	PublishID     string `json:"publishId,omitempty"`
	RequestSource string `json:"requestSource,omitempty"`
	RequestID     string `json:"requestId,omitempty"`
	Reason        string `json:"reason,omitempty"` // for people
}

// MaxReason bounds the reason of a cancel, in bytes.
const MaxReason = 1_000

// EventType is publish.cancel_requested.
func (PublishCancelRequested) EventType() string { return TypePublishCancelRequested }

// SchemaVersion is the version of the schema of this data.
func (PublishCancelRequested) SchemaVersion() string { return Version1 }

func (c *PublishCancelRequested) fields() []field {
	return []field{
		{"publishId", &c.PublishID, nonEmpty},
		{"requestSource", &c.RequestSource, nonEmpty},
		{"requestId", &c.RequestID, nonEmpty},
		{"reason", &c.Reason, optional},
	}
}

// Validate reports a cancel that names no publish, or two.
func (c PublishCancelRequested) Validate() error {
	var f faults
	checkUUID(&f, "/publishId", c.PublishID, false)
	checkLength(&f, "/reason", c.Reason, MaxReason)
	byRequest := c.RequestSource != "" || c.RequestID != ""
	switch {
	case byRequest && c.RequestSource == "":
		f.add("/requestSource", "required", "is missing: requestId alone names no publish")
	case byRequest && c.RequestID == "":
		f.add("/requestId", "required", "is missing: requestSource alone names no publish")
	case !byRequest && c.PublishID == "":
		f.add("/publishId", "required", "is missing: name publishId, or requestSource and requestId")
	case byRequest && isUUID(c.PublishID) && uuid.MustParse(c.PublishID) != PublishID(c.RequestSource, c.RequestID):
		f.add("/publishId", "const", "is not the publish of requestSource and requestId")
	}
	return f.err(TypePublishCancelRequested)
}

// ID is the publish that c names.
func (c PublishCancelRequested) ID() (uuid.UUID, error) {
	if err := c.Validate(); err != nil {
		return uuid.Nil, err
	}
	if c.PublishID == "" {
		return PublishID(c.RequestSource, c.RequestID), nil
	}
	id, err := uuid.Parse(c.PublishID)
	if err != nil {
		return uuid.Nil, fmt.Errorf("parse publish id: %w", err)
	}
	return id, nil
}
