package instagram

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"postbus.dev/services/connectors"
)

func (s *session) quotaKnown() bool {
	return !s.cp.QuotaAt.IsZero() && s.connector.now().Sub(s.cp.QuotaAt) < s.connector.scale(quotaGood)
}

// quota is what content_publishing_limit tells. Meta's pages do not agree on how
// many posts there are, so the total is the one that the answer tells.
type quota struct {
	Usage  *int `json:"quota_usage"`
	Config struct {
		Total    *int `json:"quota_total"`
		Duration int  `json:"quota_duration"` // seconds
	} `json:"config"`
}

func (c *Connector) quota(ctx context.Context, a connectors.Account) (q quota, call connectors.Call, failure *apiError, err error) {
	r := c.request(a, callQuota, http.MethodGet, "/{user}/content_publishing_limit", a.ProviderAccountID, "content_publishing_limit")
	call, failure, err = c.get(ctx, r, "quota_usage,config", &q)
	return q, call, failure, err
}

// ReadQuota tells how many posts of 24 hours are used.
func (c *Connector) ReadQuota(ctx context.Context, a connectors.Account) (connectors.Quota, error) {
	q, call, failure, err := c.quota(ctx, a)
	if err == nil && failure == nil && (q.Usage == nil || q.Config.Total == nil) {
		failure = &apiError{Status: call.Status, Unreadable: true, Call: call}
	}
	switch {
	case err != nil:
		return connectors.Quota{}, err
	case failure != nil:
		e, _ := (&session{connector: c, account: a}).judge(reading, failure)
		return connectors.Quota{}, e
	}
	window := cmp.Or(time.Duration(q.Config.Duration)*time.Second, 24*time.Hour)
	return connectors.Quota{Used: *q.Usage, Total: *q.Config.Total, Window: window}, nil
}

// readQuota waits while the account's posts of the last 24 hours are used up.
// Where no total is told, or the quota cannot be read, media_publish is left to
// enforce it.
func (s *session) readQuota(ctx context.Context) (connectors.Step, error) {
	c := s.connector
	out, call, failure, err := c.quota(ctx, s.account)
	if err != nil {
		return connectors.Step{}, err
	}
	if failure != nil {
		if e, _ := s.judge(reading, failure); e.Kind != connectors.KindRetry {
			return connectors.Step{}, e
		}
		return s.ready(call), nil
	}
	if out.Usage != nil && out.Config.Total != nil && *out.Usage >= *out.Config.Total {
		return connectors.Step{}, &connectors.Error{
			Kind: connectors.KindWait, Code: connectors.CodeQuotaExhausted, Reason: connectors.ReasonQuota, Scope: connectors.ScopeAccount,
			Wait: c.scale(quotaWait), Call: call,
			Message: fmt.Sprintf("%d of %d posts of 24 hours used", *out.Usage, *out.Config.Total),
		}
	}
	s.cp.QuotaAt = c.now()
	return s.ready(call), nil
}
