package publisher

import (
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

const someAccount = "0192f0c4-5b1e-7c3a-9a7e-3f1f6d2b8c11"

func made(t *testing.T, m events.Meta, d events.Data) event.Event {
	t.Helper()
	m.Source = "/test"
	e, err := events.New(m, d)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What is refused never gets as far as the runner, which there is none of here.
func TestWhatIsNotUnderstoodIsRefusedForGood(t *testing.T) {
	t.Parallel()
	ref := events.AccountRef{AccountID: someAccount, Provider: "p"}
	refreshed := events.TokenRefreshed{AccountRef: ref, TokenVersion: 2}
	bad := made(t, events.Meta{Sequence: 1}, refreshed)
	bad.DataEncoded = []byte(`{"accountId":"17"}`)
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"an account event without sequence": {handleAccount(t.Context(), nil, made(t, events.Meta{}, refreshed)), "has no sequence"},
		"one with bad data":                 {handleAccount(t.Context(), nil, bad), "invalid data"},
		"one of another type":               {handleAccount(t.Context(), nil, made(t, events.Meta{Sequence: 1}, events.AccountDrained{AccountRef: ref})), "no handler"},
		"a notice of another type":          {handle(t.Context(), nil, made(t, events.Meta{}, refreshed)), "no handler"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, tt.err, tt.want)
		}
	}
}
