package events_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"postbus.dev/events"
	"postbus.dev/events/eventstest"
)

func TestDataComesBackFromItsEvent(t *testing.T) {
	t.Parallel()
	for name, gen := range eventstest.All() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				d := gen.Draw(t, "data")
				e, err := events.New(events.Meta{Source: "/test"}, d)
				if err != nil {
					t.Fatal(err)
				}
				into := reflect.New(reflect.TypeOf(d))
				if err := events.DecodeData(e, into.Interface().(events.Data)); err != nil {
					t.Fatalf("%s: %v", e.Data(), err)
				}
				if !reflect.DeepEqual(into.Elem().Interface(), d) {
					t.Fatalf("%#v came back as %#v", d, into.Elem().Interface())
				}
			})
		})
	}
}

// Data that was made in code has been through no decoder.
func TestValidateNamesWhatDataMadeInCodeHasWrong(t *testing.T) {
	t.Parallel()
	request := func(change func(*events.PublishRequested)) events.PublishRequested {
		p := events.PublishRequested{MediaType: "IMAGE", AccountID: account}
		change(&p)
		return p
	}
	told := func(change func(*events.PublishCompleted)) events.PublishCompleted {
		c := completed()
		change(&c)
		return c
	}
	empty := ""
	for name, tt := range map[string]struct {
		data events.Data
		want []string
	}{
		"options no object": {request(func(p *events.PublishRequested) { p.Options = json.RawMessage("[]") }), []string{"/options type"}},
		"options no JSON":   {request(func(p *events.PublishRequested) { p.Options = json.RawMessage("{") }), []string{"/options type"}},
		"options of spaces": {request(func(p *events.PublishRequested) { p.Options = json.RawMessage(" ") }), []string{"/options type"}},
		"101 children":      {request(func(p *events.PublishRequested) { p.Children = make([]events.Child, 101) }), []string{"/children maxItems"}},
		"empty child":       {request(func(p *events.PublishRequested) { p.Children = make([]events.Child, 1) }), []string{"/children/0/mediaType required", "/children/0/mediaUrl required"}},
		"alt text of a child": {request(func(p *events.PublishRequested) {
			p.Children = []events.Child{{MediaType: "IMAGE", MediaURL: "https://a", AltText: string(make([]byte, 10_001))}}
		}), []string{"/children/0/altText maxLength"}},
		"post id empty":         {told(func(c *events.PublishCompleted) { c.PostID, c.Permalink = &empty, &empty }), []string{"/permalink minLength", "/postId minLength"}},
		"metadata no object":    {told(func(c *events.PublishCompleted) { c.Metadata = json.RawMessage("1") }), []string{"/metadata type"}},
		"no times":              {told(func(c *events.PublishCompleted) { c.Timings = events.Timings{} }), []string{"/timings/acceptedAt required", "/timings/armedAt required", "/timings/completedAt required", "/timings/dueAt required"}},
		"no attempt":            {told(func(c *events.PublishCompleted) { c.Attempts = 0 }), []string{"/attempts minimum"}},
		"account not known":     {told(func(c *events.PublishCompleted) { c.AccountID, c.Provider = "", "" }), []string{"/accountId required", "/provider required"}},
		"code in lower case":    {events.PublishFailed{PublishRef: failed(nil).PublishRef, Code: "validation_error"}, []string{"/code pattern"}},
		"violation of no rule":  {events.PublishFailed{PublishRef: failed(nil).PublishRef, Code: "X", Violations: []events.Violation{{Field: "/a"}}}, []string{"/violations/0/rule required"}},
		"negative attempt":      {events.PublishFailed{PublishRef: failed(nil).PublishRef, Code: "X", Attempt: -1}, []string{"/attempt minimum"}},
		"reason with a space":   {events.PublishDelayed{PublishRef: completed().PublishRef, Reason: "rate limit"}, []string{"/reason pattern"}},
		"reason with a digit":   {events.PublishDelayed{PublishRef: completed().PublishRef, Reason: "1_rate"}, []string{"/reason pattern"}},
		"no reason":             {events.PublishDelayed{PublishRef: completed().PublishRef}, []string{"/reason required"}},
		"negative version":      {events.TokenRefreshRequested{AccountID: account, Provider: "p", TokenVersion: -1}, []string{"/tokenVersion minimum"}},
		"nobody's account":      {events.AccountConnected{ProviderAccountID: "1"}, []string{"/accountId required", "/provider required", "/userId required"}},
		"no account over there": {events.AccountConnected{AccountOwner: owner()}, []string{"/providerAccountId required"}},
		"reason in words":       {events.AccountDisconnecting{AccountOwner: owner(), Reason: "on request"}, []string{"/reason pattern"}},
		"gone for no reason":    {events.AccountDisconnected{AccountOwner: owner()}, []string{"/reason required"}},
		"fewer than none":       {events.AccountDrained{AccountRef: owner().AccountRef, Unconfirmed: -1}, []string{"/unconfirmed minimum"}},
		"reauth for no reason":  {events.AccountReauthRequired{AccountOwner: owner()}, []string{"/reason required"}},
		"expiring at no time":   {events.AccountExpiring{AccountOwner: owner()}, []string{"/expiresAt required"}},
		"nobody's recovery":     {events.AccountRecovered{AccountOwner: events.AccountOwner{AccountRef: owner().AccountRef}}, []string{"/userId required"}},
		"refreshed to nothing":  {events.TokenRefreshed{AccountRef: owner().AccountRef}, []string{"/tokenVersion minimum"}},
		"failed in no way":      {events.TokenRefreshFailed{AccountRef: owner().AccountRef}, []string{"/class required", "/failures minimum", "/tokenVersion minimum"}},
		"other publish no UUID": {events.PublishUnconfirmed{PublishRef: completed().PublishRef, Attempt: 1, ArmedAt: completed().Timings.ArmedAt, QuietAt: completed().Timings.ArmedAt, OtherPublishID: "x"}, []string{"/otherPublishId format"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.data.Validate()
			var got []string
			for _, v := range events.Violations(err) {
				got = append(got, v.Field+" "+v.Rule)
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("violations are %q, want %q", got, tt.want)
			}
			if _, newErr := events.New(events.Meta{Source: "/a"}, tt.data); events.Violations(newErr) == nil {
				t.Errorf("New makes an event of it (%v)", newErr)
			}
		})
	}
}

func owner() events.AccountOwner {
	return events.AccountOwner{AccountRef: events.AccountRef{AccountID: account, Provider: "instagram"}, UserID: "shop-17"}
}
