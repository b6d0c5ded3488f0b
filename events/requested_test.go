package events_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/events"
)

const account = "0192f0c4-5b1e-7c3a-9a7e-3f1f6d2b8c11"

func TestParseReadsEveryField(t *testing.T) {
	t.Parallel()
	got, err := events.ParsePublishRequested([]byte(` {
		"mediaType": "CAROUSEL", "mediaUrl": "https://example.com/a.jpg", "caption": "Caf\u00e9 \ud83d\ude00 \\u0000", "title": "t", "altText": "a",
		"coverUrl": "http://example.com", "locationId": "213", "linkUrl": "HTTPS://[::1]:80/x?y#z",
		"children": [{"mediaType": "IMAGE", "mediaUrl": "https://example.com/1.jpg", "altText": "one"}, {"mediaType": "VIDEO", "mediaUrl": "https://example.com/2.mp4"}],
		"accountId": "0192F0C4-5B1E-7C3A-9A7E-3F1F6D2B8C11", "provider": "instagram", "userId": "u 1",
		"publishAt": "2026-12-24T18:00:00+01:00", "expiresAt": "2026-12-24T18:00:00.5Z",
		"options": {"a": [1, {"b": "\u00e9"}], "c": null}
	} `))
	if err != nil {
		t.Fatal(err)
	}
	want := events.PublishRequested{
		MediaType: "CAROUSEL", MediaURL: "https://example.com/a.jpg", Caption: "Café 😀 \\u0000", Title: "t", AltText: "a",
		CoverURL: "http://example.com", LocationID: "213", LinkURL: "HTTPS://[::1]:80/x?y#z",
		Children: []events.Child{
			{MediaType: "IMAGE", MediaURL: "https://example.com/1.jpg", AltText: "one"},
			{MediaType: "VIDEO", MediaURL: "https://example.com/2.mp4"},
		},
		AccountID: "0192F0C4-5B1E-7C3A-9A7E-3F1F6D2B8C11", Provider: "instagram", UserID: "u 1",
		PublishAt: "2026-12-24T18:00:00+01:00", ExpiresAt: "2026-12-24T18:00:00.5Z",
		Options: json.RawMessage(`{"a": [1, {"b": "\u00e9"}], "c": null}`),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	at, atErr := got.PublishTime()
	expiry, expiryErr := got.ExpiryTime()
	if atErr != nil || expiryErr != nil || !at.Equal(time.Date(2026, 12, 24, 17, 0, 0, 0, time.UTC)) || !expiry.Equal(time.Date(2026, 12, 24, 18, 0, 0, 5e8, time.UTC)) {
		t.Errorf("times are %v (%v) and %v (%v)", at, atErr, expiry, expiryErr)
	}
}

func TestAbsentTimesAreZero(t *testing.T) {
	t.Parallel()
	var p events.PublishRequested
	if at, err := p.PublishTime(); err != nil || !at.IsZero() {
		t.Errorf("publish time is %v (%v)", at, err)
	}
	if at, err := p.ExpiryTime(); err != nil || !at.IsZero() {
		t.Errorf("expiry time is %v (%v)", at, err)
	}
}

// request is valid data with some members replaced; nil leaves one out.
func request(change map[string]string) []byte {
	members := map[string]string{
		"mediaType": `"IMAGE"`,
		"mediaUrl":  `"https://example.com/image.jpg"`,
		"accountId": `"` + account + `"`,
	}
	maps.Copy(members, change)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] != "" {
			list = append(list, fmt.Sprintf("%q: %s", name, members[name]))
		}
	}
	return []byte("{" + strings.Join(list, ", ") + "}")
}

func TestParseNamesEachFaultByPointerAndRule(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return `"` + strings.Repeat("a", n) + `"` }
	for name, tt := range map[string]struct {
		data []byte
		want []string // "pointer rule"
	}{
		"nothing":                     {nil, []string{" json"}},
		"text":                        {[]byte(`hello`), []string{" json"}},
		"cut short":                   {[]byte(`{"mediaType": "IMAGE"`), []string{" json"}},
		"two values":                  {[]byte(`{} {}`), []string{" json"}},
		"array":                       {[]byte(`[]`), []string{" type"}},
		"null":                        {[]byte(`null`), []string{" type"}},
		"empty object":                {[]byte(`{}`), []string{"/accountId required", "/mediaType required"}},
		"media type unknown":          {request(map[string]string{"mediaType": `"PHOTO"`}), []string{"/mediaType enum"}},
		"media type in lower case":    {request(map[string]string{"mediaType": `"image"`}), []string{"/mediaType enum"}},
		"media type empty":            {request(map[string]string{"mediaType": `""`}), []string{"/mediaType minLength"}},
		"media type missing":          {request(map[string]string{"mediaType": ``}), []string{"/mediaType required"}},
		"name in another case":        {request(map[string]string{"MediaUrl": `"https://example.com"`}), []string{"/MediaUrl additionalProperties"}},
		"unknown fields":              {request(map[string]string{"x/y~z": `1`, "é": `{}`}), []string{"/x~1y~0z additionalProperties", "/é additionalProperties"}},
		"field twice":                 {[]byte(`{"mediaType":"IMAGE","accountId":"` + account + `","caption":"a","caption":"a"}`), []string{"/caption duplicate"}},
		"field twice, once escaped":   {[]byte(`{"mediaType":"IMAGE","accountId":"` + account + `","caption":"a","c\u0061ption":"a"}`), []string{"/caption duplicate"}},
		"null for a field":            {request(map[string]string{"caption": `null`, "mediaUrl": `null`, "children": `null`, "options": `null`}), []string{"/caption type", "/children type", "/mediaUrl type", "/options type"}},
		"number for text":             {request(map[string]string{"caption": `1`, "userId": `17`}), []string{"/caption type", "/userId type"}},
		"caption at the limit":        {request(map[string]string{"caption": long(100_000)}), nil},
		"caption beyond the limit":    {request(map[string]string{"caption": long(100_001)}), []string{"/caption maxLength"}},
		"caption counted in bytes":    {request(map[string]string{"caption": `"` + strings.Repeat("é", 50_001) + `"`}), []string{"/caption maxLength"}},
		"title and alt text too long": {request(map[string]string{"title": long(10_001), "altText": long(10_001)}), []string{"/altText maxLength", "/title maxLength"}},
		"location too long":           {request(map[string]string{"locationId": long(256)}), []string{"/locationId maxLength"}},
		"U+0000":                      {request(map[string]string{"caption": `"a\u0000b"`}), []string{"/caption characters"}},
		"lone high surrogate":         {request(map[string]string{"caption": `"a\ud800b"`}), []string{"/caption characters"}},
		"lone low surrogate":          {request(map[string]string{"caption": `"\uDC00"`}), []string{"/caption characters"}},
		"surrogates in wrong order":   {request(map[string]string{"caption": `"\udc00\ud800"`}), []string{"/caption characters"}},
		"surrogate before an escape":  {request(map[string]string{"caption": `"\ud800\n"`}), []string{"/caption characters"}},
		"high surrogate twice":        {request(map[string]string{"caption": `"\ud83d\ud83d\ude00"`}), []string{"/caption characters"}},
		"all that text can have":      {request(map[string]string{"caption": "\"\xff\\ud800\\u0000\""}), []string{"/caption characters", "/caption characters", "/caption characters"}},
		"U+FFFD is a character":       {request(map[string]string{"caption": `"\ufffd"`}), nil},
		"an escaped backslash":        {request(map[string]string{"caption": `"\\ud800 \\\\u0000"`}), nil},
		"invalid UTF-8":               {request(map[string]string{"caption": "\"\xc0\xa0\""}), []string{"/caption characters"}},
		"bad name":                    {[]byte("{\"mediaType\":\"IMAGE\",\"accountId\":\"" + account + "\",\"\xff\":1,\"\\u0000\":1}"), []string{"/\uFFFD characters", "/\uFFFD characters"}},
		"text within options":         {request(map[string]string{"options": `{"a": ["x", {"b": "\ud800"}], "c\u0000": 1}`}), []string{"/options/a/1/b characters", "/options/c\uFFFD characters"}},
		"name twice within options":   {request(map[string]string{"options": `{"a": {"b": 1, "b": 2}}`}), []string{"/options/a/b duplicate"}},
		"options an array":            {request(map[string]string{"options": `[]`}), []string{"/options type"}},
		"options at the limit":        {request(map[string]string{"options": `{"a":` + long(16<<10-8) + `}`}), nil},
		"options beyond the limit":    {request(map[string]string{"options": `{"a":` + long(16<<10-7) + `}`}), []string{"/options maxLength"}},
		"options too deep":            {request(map[string]string{"options": `{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`}), []string{"/options/a" + strings.Repeat("/0", 31) + " depth"}},
		"URL relative":                {request(map[string]string{"mediaUrl": `"image.jpg"`}), []string{"/mediaUrl format"}},
		"URL without scheme":          {request(map[string]string{"mediaUrl": `"//example.com/image.jpg"`}), []string{"/mediaUrl format"}},
		"URL without host":            {request(map[string]string{"mediaUrl": `"http:///image.jpg"`, "coverUrl": `"https:image.jpg"`, "linkUrl": `"https://:443"`}), []string{"/coverUrl format", "/linkUrl format", "/mediaUrl format"}},
		"URL of another scheme":       {request(map[string]string{"mediaUrl": `"file:///etc/passwd"`, "linkUrl": `"javascript:alert(1)"`}), []string{"/linkUrl format", "/mediaUrl format"}},
		"URL with password":           {request(map[string]string{"mediaUrl": `"https://u:p@example.com/"`}), []string{"/mediaUrl format"}},
		"URL with space":              {request(map[string]string{"mediaUrl": `"https://example.com/a b"`, "linkUrl": `"https://example.com/\u00a0"`}), []string{"/linkUrl format", "/mediaUrl format"}},
		"URL with bad escape":         {request(map[string]string{"mediaUrl": `"https://example.com/%zz"`}), []string{"/mediaUrl format"}},
		"URL empty":                   {request(map[string]string{"mediaUrl": `""`}), []string{"/mediaUrl minLength"}},
		"URL at the limit":            {request(map[string]string{"mediaUrl": `"https://a/` + strings.Repeat("a", 8182) + `"`}), nil},
		"URL beyond the limit":        {request(map[string]string{"mediaUrl": `"https://a/` + strings.Repeat("a", 8183) + `"`}), []string{"/mediaUrl maxLength"}},
		"no target":                   {request(map[string]string{"accountId": ``}), []string{"/accountId required"}},
		"provider alone":              {request(map[string]string{"accountId": ``, "provider": `"instagram"`}), []string{"/userId required"}},
		"user alone":                  {request(map[string]string{"accountId": ``, "userId": `"17"`}), []string{"/provider required"}},
		"provider and user":           {request(map[string]string{"accountId": ``, "provider": `"only-fans_2"`, "userId": `"17"`}), nil},
		"account and provider":        {request(map[string]string{"provider": `"instagram"`}), nil},
		"account not a UUID":          {request(map[string]string{"accountId": `"17"`}), []string{"/accountId format"}},
		"account in braces":           {request(map[string]string{"accountId": `"{` + account + `}"`}), []string{"/accountId format"}},
		"account of the right length": {request(map[string]string{"accountId": `"0192f0c4x5b1e-7c3a-9a7e-3f1f6d2b8c11"`}), []string{"/accountId format"}},
		"provider not a name":         {request(map[string]string{"provider": `"Instagram"`}), []string{"/provider pattern"}},
		"provider begins with digit":  {request(map[string]string{"provider": `"4chan"`}), []string{"/provider pattern"}},
		"provider too long":           {request(map[string]string{"provider": long(65)}), []string{"/provider pattern"}},
		"user too long":               {request(map[string]string{"userId": long(256)}), []string{"/userId maxLength"}},
		"naive time":                  {request(map[string]string{"publishAt": `"2026-12-24T18:00:00"`}), []string{"/publishAt format"}},
		"time with space":             {request(map[string]string{"publishAt": `"2026-12-24 18:00:00Z"`}), []string{"/publishAt format"}},
		"time with one digit":         {request(map[string]string{"publishAt": `"2026-12-24T8:00:00Z"`}), []string{"/publishAt format"}},
		"time with comma":             {request(map[string]string{"publishAt": `"2026-12-24T18:00:00,5Z"`}), []string{"/publishAt format"}},
		"time with an offset of days": {request(map[string]string{"publishAt": `"2026-12-24T18:00:00+25:00"`}), []string{"/publishAt format"}},
		"time in lower case":          {request(map[string]string{"publishAt": `"2026-12-24t18:00:00z"`}), []string{"/publishAt format"}},
		"time ending in a point":      {request(map[string]string{"publishAt": `"2026-12-24T18:00:00.Z"`}), []string{"/publishAt format"}},
		"time before a minus":         {request(map[string]string{"publishAt": `"2026-12-24T18:00:00-03:30"`}), nil},
		"February 30":                 {request(map[string]string{"publishAt": `"2026-02-30T18:00:00Z"`}), []string{"/publishAt format"}},
		"time as a number":            {request(map[string]string{"publishAt": `1766600000`}), []string{"/publishAt type"}},
		"expiry before publication":   {request(map[string]string{"publishAt": `"2026-12-24T18:00:00Z"`, "expiresAt": `"2026-12-24T18:59:00+01:00"`}), []string{"/expiresAt after"}},
		"expiry without publication":  {request(map[string]string{"expiresAt": `"2026-12-24T18:00:00Z"`}), nil},
		"children an object":          {request(map[string]string{"children": `{}`}), []string{"/children type"}},
		"child of another type":       {request(map[string]string{"children": `[1, "x", null]`}), []string{"/children/0 type", "/children/1 type", "/children/2 type"}},
		"child empty":                 {request(map[string]string{"children": `[{}]`}), []string{"/children/0/mediaType required", "/children/0/mediaUrl required"}},
		"child faults":                {request(map[string]string{"children": `[{"mediaType":"STORY","mediaUrl":"x","altText":1,"caption":"c"}]`}), []string{"/children/0/altText type", "/children/0/caption additionalProperties", "/children/0/mediaType enum", "/children/0/mediaUrl format"}},
		"100 children":                {request(map[string]string{"children": carousel(100)}), nil},
		"101 children":                {request(map[string]string{"children": carousel(101)}), []string{"/children maxItems"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := events.ParsePublishRequested(tt.data)
			var got []string
			for _, v := range events.Violations(err) {
				if got = append(got, v.Field+" "+v.Rule); v.Message == "" {
					t.Errorf("%s has no message", v.Field)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("violations are %q, want %q", got, tt.want)
			}
			if (err == nil) != (len(tt.want) == 0) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func carousel(n int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(`{"mediaType":"IMAGE","mediaUrl":"https://example.com/1.jpg"},`, n), ",") + "]"
}

func TestParseNamesEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	_, err := events.ParsePublishRequested([]byte(`{
		"mediaType": "REEL", "mediaUrl": "http:///x", "caption": "\u0000", "title": 1, "coverUrl": "x", "linkUrl": "mailto:a@b.c", "altText": "\udfff",
		"children": [{"mediaType": "IMAGE", "mediaUrl": "https://ok.example"}, {"mediaUrl": "y"}], "provider": "IG", "publishAt": "2026-12-24T18:00:00",
		"expiresAt": "soon", "options": 7, "hashtags": []
	}`))
	want := []string{
		"/altText", "/caption", "/children/1/mediaType", "/children/1/mediaUrl", "/coverUrl", "/expiresAt", "/hashtags", "/linkUrl",
		"/mediaType", "/mediaUrl", "/options", "/provider", "/publishAt", "/title", "/userId",
	}
	var got []string
	for _, v := range events.Violations(err) {
		got = append(got, v.Field)
		if !strings.Contains(err.Error(), v.Field+": "+v.Message) {
			t.Errorf("%q does not tell %s", err, v.Field)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("fields are %q, want %q", got, want)
	}
}

func TestNaiveTimesAreToldToNeedAnOffset(t *testing.T) {
	t.Parallel()
	_, err := events.ParsePublishRequested(request(map[string]string{"publishAt": `"2026-12-24T18:00:00"`}))
	if err == nil || !strings.Contains(err.Error(), "must have an offset") {
		t.Errorf("error is %v", err)
	}
}

func TestARefusedRequestKeepsWhatHasNoFault(t *testing.T) {
	t.Parallel()
	got, err := events.ParsePublishRequested([]byte(`{"mediaType":"REEL","caption":"kept","title":"\u0000","mediaUrl":"x","accountId":"17","provider":"instagram","userId":"17",
		"publishAt":"2026-12-24T18:00:00","expiresAt":"2026-12-24T18:00:00Z","children":[{"mediaType":"IMAGE"}],"options":{"a":"\ud800"}}`))
	if err == nil {
		t.Fatal("it was taken")
	}
	want := events.PublishRequested{Caption: "kept", Provider: "instagram", UserID: "17", ExpiresAt: "2026-12-24T18:00:00Z"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAReportOfManyFaultsIsBounded(t *testing.T) {
	t.Parallel()
	members := make([]string, 5_000)
	for i := range members {
		members[i] = fmt.Sprintf(`"%s%d":1`, strings.Repeat("é", 80), i)
	}
	_, err := events.ParsePublishRequested([]byte("{" + strings.Join(members, ",") + "}"))
	list := events.Violations(err)
	if len(list) != 101 || list[100].Rule != "maxViolations" {
		t.Fatalf("%d violations, the last %v", len(list), list[len(list)-1])
	}
	if _, err := events.New(events.Meta{Source: "/test"}, failed(list)); err != nil {
		t.Error(err)
	}
	if raw, _ := json.Marshal(list); len(raw) > 64<<10 {
		t.Errorf("the report has %d bytes", len(raw))
	}
}

func failed(list []events.Violation) events.PublishFailed {
	return events.PublishFailed{
		PublishRef: events.PublishRef{PublishID: events.PublishID("/a", "1").String(), RequestSource: "/a", RequestID: "1"},
		Code:       "VALIDATION_ERROR", Message: "the request is invalid", Violations: list,
	}
}

func TestErrorsDoNotTellValues(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	_, err := events.ParsePublishRequested([]byte(`{"mediaType":"` + secret + `","mediaUrl":"` + secret + `","accountId":"` + secret + `","provider":"` + secret + `!","publishAt":"` + secret + `","options":"` + secret + `"}`))
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("error is %v", err)
	}
}

func TestReadLeavesTheTargetToTheCaller(t *testing.T) {
	t.Parallel()
	p, err := events.ReadPublishRequested([]byte(`{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg"}`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Validate() == nil {
		t.Error("a request without target is valid")
	}
	p.Provider, p.UserID = "instagram", "demo"
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := events.ReadPublishRequested([]byte(`{"mediaType":1,"x":2}`)); len(events.Violations(err)) != 2 {
		t.Errorf("error is %v", err)
	}
}
