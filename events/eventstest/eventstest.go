// Package eventstest makes random valid events for property tests.
package eventstest

import (
	"encoding/json"
	"time"

	"pgregory.net/rapid"

	"postbus.dev/events"
)

// All has a generator of valid data for every type that has a struct.
func All() map[string]*rapid.Generator[events.Data] {
	return map[string]*rapid.Generator[events.Data]{
		events.TypePublishRequested:        generator(Requested),
		events.TypePublishCancelRequested:  generator(CancelRequested),
		events.TypePublishScheduled:        generator(Scheduled),
		events.TypePublishDelayed:          generator(Delayed),
		events.TypePublishCompleted:        generator(Completed),
		events.TypePublishFailed:           generator(Failed),
		events.TypePublishCanceled:         generator(Canceled),
		events.TypePublishUnconfirmed:      generator(Unconfirmed),
		events.TypePublishProviderNotified: generator(ProviderNotified),
		events.TypeAccountConnected:        generator(Connected),
		events.TypeAccountDisconnecting:    generator(Disconnecting),
		events.TypeAccountDrained:          generator(Drained),
		events.TypeAccountDisconnected:     generator(Disconnected),
		events.TypeAccountReauthRequired:   generator(ReauthRequired),
		events.TypeAccountExpiring:         generator(Expiring),
		events.TypeAccountRecovered:        generator(Recovered),
		events.TypeTokenRefreshRequested:   generator(RefreshRequested),
		events.TypeTokenRefreshed:          generator(Refreshed),
		events.TypeTokenRefreshFailed:      generator(RefreshFailed),
	}
}

// Zero has a pointer to the zero value of every type that has a struct.
func Zero() map[string]events.Data {
	return map[string]events.Data{
		events.TypePublishRequested:        &events.PublishRequested{},
		events.TypePublishCancelRequested:  &events.PublishCancelRequested{},
		events.TypePublishScheduled:        &events.PublishScheduled{},
		events.TypePublishDelayed:          &events.PublishDelayed{},
		events.TypePublishCompleted:        &events.PublishCompleted{},
		events.TypePublishFailed:           &events.PublishFailed{},
		events.TypePublishCanceled:         &events.PublishCanceled{},
		events.TypePublishUnconfirmed:      &events.PublishUnconfirmed{},
		events.TypePublishProviderNotified: &events.PublishProviderNotified{},
		events.TypeAccountConnected:        &events.AccountConnected{},
		events.TypeAccountDisconnecting:    &events.AccountDisconnecting{},
		events.TypeAccountDrained:          &events.AccountDrained{},
		events.TypeAccountDisconnected:     &events.AccountDisconnected{},
		events.TypeAccountReauthRequired:   &events.AccountReauthRequired{},
		events.TypeAccountExpiring:         &events.AccountExpiring{},
		events.TypeAccountRecovered:        &events.AccountRecovered{},
		events.TypeTokenRefreshRequested:   &events.TokenRefreshRequested{},
		events.TypeTokenRefreshed:          &events.TokenRefreshed{},
		events.TypeTokenRefreshFailed:      &events.TokenRefreshFailed{},
	}
}

func generator[T events.Data](draw func(*rapid.T) T) *rapid.Generator[events.Data] {
	return rapid.Custom(func(t *rapid.T) events.Data { return draw(t) })
}

// Requested draws a valid request.
func Requested(t *rapid.T) events.PublishRequested {
	p := events.PublishRequested{
		MediaType:  mediaType(t),
		MediaURL:   orEmpty(t, URL),
		Caption:    Text(t),
		Title:      Text(t),
		AltText:    Text(t),
		CoverURL:   orEmpty(t, URL),
		LocationID: orEmpty(t, Word),
		LinkURL:    orEmpty(t, URL),
		Options:    options(t),
	}
	for range rapid.IntRange(0, 3).Draw(t, "children") {
		p.Children = append(p.Children, events.Child{
			MediaType: rapid.SampledFrom([]string{events.MediaImage, events.MediaVideo}).Draw(t, "childType"),
			MediaURL:  URL(t),
			AltText:   Text(t),
		})
	}
	if byAccount := rapid.Bool().Draw(t, "byAccount"); byAccount {
		p.AccountID = UUID(t)
	} else {
		p.Provider, p.UserID = provider(t), Word(t)
	}
	if at := Instant(t); rapid.Bool().Draw(t, "scheduled") {
		p.PublishAt = at.Format(time.RFC3339)
		p.ExpiresAt = at.Add(time.Hour).In(time.FixedZone("", -3*3600)).Format(time.RFC3339Nano)
	}
	return p
}

// CancelRequested draws a valid cancel.
func CancelRequested(t *rapid.T) events.PublishCancelRequested {
	c := events.PublishCancelRequested{Reason: Text(t)}
	form := rapid.IntRange(0, 2).Draw(t, "form")
	if form > 0 {
		c.RequestSource, c.RequestID = "/"+Word(t), Word(t)
		c.PublishID = events.PublishID(c.RequestSource, c.RequestID).String()
	}
	switch form {
	case 0:
		c.PublishID = UUID(t)
	case 1:
		c.PublishID = ""
	}
	return c
}

// Ref draws a publish that got as far as its account.
func Ref(t *rapid.T) events.PublishRef {
	r := events.PublishRef{RequestSource: "/" + Word(t), RequestID: Word(t), AccountID: UUID(t), Provider: provider(t)}
	r.PublishID = events.PublishID(r.RequestSource, r.RequestID).String()
	return r
}

// earlyRef draws a publish that may not have got there.
func earlyRef(t *rapid.T) events.PublishRef {
	r := Ref(t)
	if rapid.Bool().Draw(t, "early") {
		r.AccountID, r.Provider = "", ""
	}
	return r
}

// Scheduled draws a valid publish.scheduled.
func Scheduled(t *rapid.T) events.PublishScheduled {
	return events.PublishScheduled{PublishRef: Ref(t), DueAt: Instant(t), ExpiresAt: Instant(t)}
}

// Delayed draws a valid publish.delayed.
func Delayed(t *rapid.T) events.PublishDelayed {
	return events.PublishDelayed{
		PublishRef: Ref(t),
		Reason:     code(t),
		Until:      orZero(t),
		Detail:     Text(t),
	}
}

// Completed draws a valid publish.completed.
func Completed(t *rapid.T) events.PublishCompleted {
	return events.PublishCompleted{
		PublishRef:  Ref(t),
		UserID:      orEmpty(t, Word),
		MediaType:   mediaType(t),
		PostID:      orNil(t, Word),
		Permalink:   orNil(t, URL),
		Caption:     Text(t),
		PublishedAt: orZero(t),
		Timings:     events.Timings{AcceptedAt: Instant(t), DueAt: Instant(t), ArmedAt: Instant(t), CompletedAt: Instant(t)},
		Attempts:    rapid.IntRange(1, 9).Draw(t, "attempts"),
		Metadata:    options(t),
	}
}

// Failed draws a valid publish.failed.
func Failed(t *rapid.T) events.PublishFailed {
	d := events.PublishFailed{
		PublishRef:        earlyRef(t),
		Code:              rapid.StringMatching(`[A-Z][A-Z0-9_]{0,20}`).Draw(t, "code"),
		Message:           Text(t),
		Retryable:         rapid.Bool().Draw(t, "retryable"),
		ProviderCode:      orEmpty(t, Word),
		ProviderRequestID: orEmpty(t, Word),
		Attempt:           rapid.IntRange(0, 9).Draw(t, "attempt"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "violations") {
		d.Violations = append(d.Violations, events.Violation{Field: "/" + Word(t), Rule: Word(t), Message: Text(t)})
	}
	return d
}

// Canceled draws a valid publish.canceled.
func Canceled(t *rapid.T) events.PublishCanceled {
	return events.PublishCanceled{PublishRef: earlyRef(t), Reason: Text(t)}
}

// Unconfirmed draws a valid publish.unconfirmed.
func Unconfirmed(t *rapid.T) events.PublishUnconfirmed {
	return events.PublishUnconfirmed{
		PublishRef:     Ref(t),
		Attempt:        rapid.IntRange(1, 9).Draw(t, "attempt"),
		ArmedAt:        Instant(t),
		QuietAt:        Instant(t),
		Evidence:       Text(t),
		OtherPublishID: orEmpty(t, UUID),
	}
}

// ProviderNotified draws a valid publish.provider_notified.
func ProviderNotified(t *rapid.T) events.PublishProviderNotified {
	return events.PublishProviderNotified{AccountID: UUID(t), Provider: provider(t), Handle: Word(t), Kind: Word(t)}
}

// RefreshRequested draws a valid token.refresh_requested.
func RefreshRequested(t *rapid.T) events.TokenRefreshRequested {
	return events.TokenRefreshRequested{
		AccountID:    UUID(t),
		Provider:     provider(t),
		TokenVersion: rapid.Int64Range(0, 1<<40).Draw(t, "tokenVersion"),
		Reason:       Text(t),
	}
}

// Text draws text of any characters that a text may hold, "" among them.
func Text(t *rapid.T) string {
	return rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return r != 0 && (r < 0xD800 || r > 0xDFFF) }), 0, 40, -1).Draw(t, "text")
}

// Word draws a short name that is not empty.
func Word(t *rapid.T) string { return rapid.StringMatching(`[A-Za-z0-9_.:~-]{1,20}`).Draw(t, "word") }

// URL draws an absolute URL.
func URL(t *rapid.T) string {
	return rapid.StringMatching(`https?://[a-z0-9]{1,10}(\.example)?(:[1-9][0-9]{1,3})?(/[A-Za-z0-9._~&=<>é-]{0,10})?(\?[a-z]=[a-z&%20]{0,2})?`).
		Filter(func(s string) bool {
			return (events.PublishRequested{MediaType: events.MediaImage, MediaURL: s, Provider: "p", UserID: "u"}).Validate() == nil
		}).
		Draw(t, "url")
}

// UUID draws a UUID.
func UUID(t *rapid.T) string {
	return rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`).Draw(t, "uuid")
}

// Instant draws a time of our century, to the nanosecond.
func Instant(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(1_600_000_000, 4_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
}

func mediaType(t *rapid.T) string {
	return rapid.SampledFrom([]string{events.MediaImage, events.MediaVideo, events.MediaCarousel, events.MediaStory, events.MediaText, events.MediaLink}).Draw(t, "mediaType")
}

func provider(t *rapid.T) string {
	return rapid.StringMatching(`[a-z][a-z0-9_-]{0,12}`).Draw(t, "provider")
}

func options(t *rapid.T) json.RawMessage {
	if rapid.Bool().Draw(t, "noOptions") {
		return nil
	}
	v := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), rapid.OneOf(
		rapid.Custom(func(t *rapid.T) any { return Text(t) }),
		rapid.Custom(func(t *rapid.T) any { return rapid.Bool().Draw(t, "flag") }),
		rapid.Custom(func(t *rapid.T) any { return []any{Text(t), nil, 1.5} }),
	), 0, 3).Draw(t, "options")
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func orEmpty(t *rapid.T, draw func(*rapid.T) string) string {
	if rapid.Bool().Draw(t, "empty") {
		return ""
	}
	return draw(t)
}

func orNil(t *rapid.T, draw func(*rapid.T) string) *string {
	if s := orEmpty(t, draw); s != "" {
		return &s
	}
	return nil
}

func orZero(t *rapid.T) time.Time {
	if rapid.Bool().Draw(t, "zero") {
		return time.Time{}
	}
	return Instant(t)
}
