package httpapi

import (
	"errors"
	"net/http"
	"testing"

	"postbus.dev/services/internal/process"
)

func (b bundle) call(t *testing.T, key string) answer {
	t.Helper()
	r := request(http.MethodPost, thing, "{}")
	r.Header.Set("Authorization", "Bearer "+key)
	return b.do(t, r)
}

func TestEveryCallTellsWhatIsLeftOfBothLimits(t *testing.T) {
	t.Parallel()
	a := setup(t, nil).call(t, "pb_good")
	if got := a.header.Get("RateLimit-Policy"); got != `"key";q=50;w=60, "user";q=70;w=60` {
		t.Errorf("policy is %s", got)
	}
	if got := a.header.Get("RateLimit"); got != `"key";r=49;t=3, "user";r=69;t=3` {
		t.Errorf("limit is %s", got)
	}
}

func TestAKeyThatIsOverItsLimitIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for range 50 {
		if a := b.call(t, "pb_good"); a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.raw)
		}
	}
	a := b.call(t, "pb_good")
	a.wants(t, 429, CodeRateLimitExceeded)
	if a.header.Get("Retry-After") != "3" || a.header.Get("RateLimit") != `"key";r=0;t=3, "user";r=20;t=3` {
		t.Errorf("headers are %v", a.header)
	}
}

func TestTheKeysOfAUserShareTheUsersLimit(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for range 50 {
		b.call(t, "pb_good")
	}
	for i := range 21 {
		if a := b.call(t, "pb_other"); (a.status == 429) != (i == 20) {
			t.Errorf("call %d of the other key: %d", i, a.status)
		}
	}
}

func TestInvalidCallsCountAndUnauthorizedOnesDoNot(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.call(t, "pb_bad").wants(t, 401, CodeUnauthorized)
	if len(b.calls.used) != 0 {
		t.Errorf("counted %v", b.calls.used)
	}
	a := b.do(t, request(http.MethodPost, "/things/7", "{}"))
	a.wants(t, 400, CodeValidation)
	if a.header.Get("RateLimit") == "" || len(b.calls.used) != 2 {
		t.Errorf("told %q, counted %v", a.header.Get("RateLimit"), b.calls.used)
	}
}

func TestAnOperationThatCountsItselfAndAPublicOneAreLeftOut(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, r := range []*http.Request{request(http.MethodPost, "/own", ""), request(http.MethodGet, "/public", "")} {
		if a := b.do(t, r); a.status != 200 || a.header.Get("RateLimit") != "" {
			t.Errorf("%s: %d %v", r.URL, a.status, a.header)
		}
	}
	if len(b.calls.used) != 0 {
		t.Errorf("counted %v", b.calls.used)
	}
}

func TestCallsThatCannotBeCountedAreNotAnswered(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.calls.down = errors.New("database is away")
	b.call(t, "pb_good").wants(t, 503, CodeServiceUnavailable)
}

func TestTheLimitsAreSettings(t *testing.T) {
	t.Parallel()
	env := map[string]string{"POSTBUS_CALLS_PER_KEY": "10"}
	e := process.NewEnv(func(name string) string { return env[name] })
	if got := LimitsFrom(e); got != (Limits{PerKey: 10, PerUser: 1200}) || e.Err() != nil {
		t.Errorf("%+v %v", got, e.Err())
	}
	env["POSTBUS_CALLS_PER_USER"] = "0"
	if LimitsFrom(e); e.Err() == nil {
		t.Error("a limit of nothing was taken")
	}
}
