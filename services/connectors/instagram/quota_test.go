package instagram

import (
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

func TestTheQuotaIsToldAsInstagramTellsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for body, want := range map[string]connectors.Quota{
		`{"data":[{"quota_usage":2,"config":{"quota_total":50,"quota_duration":3600}}]}`: {Used: 2, Total: 50, Window: time.Hour},
		`{"quota_usage":60,"config":{"quota_total":50}}`:                                 {Used: 60, Total: 50, Window: 24 * time.Hour},
	} {
		b.on(limitPath, reply{body: body})
		if q, err := b.c.ReadQuota(t.Context(), b.account); err != nil || q != want {
			t.Errorf("%s: %+v, %v", body, q, err)
		}
	}
	for _, q := range b.requests() {
		if q.query.Get("fields") != "quota_usage,config" {
			t.Errorf("asked for %v", q.query)
		}
	}
}

func TestAQuotaThatIsNotToldIsNoQuota(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]reply{
		"no total": {body: `{"data":[{"quota_usage":5}]}`}, "no usage": {body: `{"config":{"quota_total":5}}`}, "nothing": {body: `{"data":[]}`},
		"refused": graphError(10, 0), "dead token": graphError(190, 0), "down": {status: 503},
	} {
		b := setup(t)
		b.on(limitPath, r)
		if q, err := b.c.ReadQuota(t.Context(), b.account); err == nil || q != (connectors.Quota{}) {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
	}
}
