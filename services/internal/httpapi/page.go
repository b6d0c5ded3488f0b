package httpapi

import (
	"encoding/base64"
	"encoding/json"

	"postbus.dev/events"
)

// Page is the data of a list.
type Page[T any] struct {
	Items      []T    `json:"items" nullable:"false"`
	NextCursor string `json:"nextCursor,omitempty" doc:"The cursor of the next page; absent on the last one"`
}

// PageInput is what a list is asked with.
type PageInput struct {
	Cursor string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before; without it the first page. Filters stay as they were"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"The most items that the page has"`
}

// Cursor makes the cursor of a place in a list. What it holds is no secret and
// is not signed: who makes one up sees no more than with one that was given.
func Cursor(place any) (string, error) {
	b, err := json.Marshal(place)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// Place reads the cursor into what Cursor was given. It says whether there was
// one.
func (in PageInput) Place(place any) (bool, error) {
	if in.Cursor == "" {
		return false, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	if err == nil {
		err = json.Unmarshal(b, place)
	}
	if err != nil {
		return false, Invalid(events.Violation{Field: "query.cursor", Rule: "format", Message: "is no cursor of this list; leave it out to begin anew"})
	}
	return true, nil
}
