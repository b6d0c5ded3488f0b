package httpapi

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPreferenceToWait(t *testing.T) {
	t.Parallel()
	cases := map[string]Preference{
		"":                        {},
		"wait=10":                 {10 * time.Second, true},
		"respond-async, WAIT=5":   {5 * time.Second, true},
		"respond-async":           {0, true},
		"return=minimal; x=y":     {},
		`wait="7"; foo`:           {7 * time.Second, true},
		"wait=-1":                 {},
		"wait=ten":                {},
		"wait=3, wait=9":          {3 * time.Second, true},
		"wait=99999999999999999":  {},
		"handling=lenient,wait=1": {time.Second, true},
	}
	for value, want := range cases {
		if got := ParsePrefer(http.Header{"Prefer": {value}}); got != want {
			t.Errorf("%q is %+v, want %+v", value, got, want)
		}
	}
	if got := ParsePrefer(http.Header{"Prefer": {"respond-async", "wait=2"}}); got.Wait != 2*time.Second {
		t.Errorf("two lines are %+v", got)
	}
}

func TestIdempotencyKeysAreReadQuotedAndBare(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", MaxKeyLength)
	for value, want := range map[string]string{
		`"8e03978e-40d5-43dd-bc93-6894a57f9324"`: "8e03978e-40d5-43dd-bc93-6894a57f9324",
		"8e03978e-40d5-43dd-bc93-6894a57f9324":   "8e03978e-40d5-43dd-bc93-6894a57f9324",
		`"with \"quotes\" and \\"`:               `with "quotes" and \`,
		"order:7/a":                              "order:7/a",
		long:                                     long,
	} {
		if got, v := IdempotencyKey(http.Header{"Idempotency-Key": {value}}); v != nil || got != want {
			t.Errorf("%q is %q, %v", value, got, v)
		}
	}
	if got, v := IdempotencyKey(http.Header{}); got != "" || v != nil {
		t.Errorf("no key is %q, %v", got, v)
	}
}

func TestBadIdempotencyKeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, values := range [][]string{
		{""}, {`""`}, {`"open`}, {`"`}, {"two words"}, {"käse"}, {`"käse"`}, {`"a"b"`}, {`"a\n"`}, {`"a";p=1`}, {"a,b"},
		{strings.Repeat("k", MaxKeyLength+1)}, {"a", "b"}, {"a", "a"},
	} {
		if got, v := IdempotencyKey(http.Header{"Idempotency-Key": values}); v == nil {
			t.Errorf("%q was read as %q", values, got)
		}
	}
}

func TestRateLimitFieldsRoundUp(t *testing.T) {
	t.Parallel()
	s := &state{header: http.Header{}}
	ctx := context.WithValue(t.Context(), stateKey{}, s)
	l := RateLimit{Policy: "publish", Quota: 20, Window: time.Minute, Remaining: 3, Reset: 1200 * time.Millisecond}
	l.Tell(ctx)
	if got := s.header.Get("RateLimit-Policy"); got != `"publish";q=20;w=60` {
		t.Errorf("policy is %s", got)
	}
	if got := s.header.Get("RateLimit"); got != `"publish";r=3;t=2` {
		t.Errorf("limit is %s", got)
	}
	f := failure(ctx, l.Exceeded())
	if f.status != 429 || f.Problem.RetryAfter != 2 || s.header.Get("Retry-After") != "2" || !f.Problem.Retryable {
		t.Errorf("exceeded gives %+v, Retry-After %s", f, s.header.Get("Retry-After"))
	}
}
