package instagram

import (
	"context"
	"fmt"
	"net/http"

	"postbus.dev/services/connectors"
)

func (s *session) quotaKnown() bool {
	return !s.cp.QuotaAt.IsZero() && s.connector.now().Sub(s.cp.QuotaAt) < s.connector.scale(quotaGood)
}

// readQuota waits while the account's posts of the last 24 hours are used up.
// Meta's pages do not agree on how many those are, so the total is the one that
// the answer tells; where it tells none, or where the quota cannot be read,
// media_publish is left to enforce it.
func (s *session) readQuota(ctx context.Context) (connectors.Step, error) {
	c := s.connector
	r := c.request(s.account, callQuota, http.MethodGet, "/{user}/content_publishing_limit", s.account.ProviderAccountID, "content_publishing_limit")
	var out struct {
		Usage  *int `json:"quota_usage"`
		Config struct {
			Total *int `json:"quota_total"`
		} `json:"config"`
	}
	call, failure, err := c.get(ctx, r, "quota_usage,config", &out)
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
