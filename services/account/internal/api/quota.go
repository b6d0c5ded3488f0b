package api

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// quotaFresh is how long what a provider told, or did not tell, is shown again:
// a caller who polls an account's health must not use up the calls that
// publishing needs.
const (
	quotaFresh = time.Minute
	quotaMost  = 10_000 // accounts that are remembered so
)

// QuotaView is how many posts a provider still takes of an account.
type QuotaView struct {
	Known         bool `json:"known" doc:"false: the provider did not tell, or not in time"`
	Used          *int `json:"used,omitempty" doc:"Posts of the last windowSeconds"`
	Total         *int `json:"total,omitempty" doc:"Posts that are allowed in windowSeconds"`
	Remaining     *int `json:"remaining,omitempty"`
	WindowSeconds int  `json:"windowSeconds,omitempty"`
}

// quotas remembers what providers told.
type quotas struct {
	mu   sync.Mutex
	seen map[uuid.UUID]quotaSeen
}

type quotaSeen struct {
	view  QuotaView
	until time.Time
}

// find returns what was told, or false to the one caller who is to ask: others
// who come meanwhile are shown what was told before, and do not ask too.
func (q *quotas) find(id uuid.UUID) (QuotaView, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s, ok := q.seen[id]
	if ok && time.Now().Before(s.until) {
		return s.view, true
	}
	q.put(id, s.view, quotaLimit)
	return QuotaView{}, false
}

func (q *quotas) add(id uuid.UUID, v QuotaView) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(id, v, quotaFresh)
}

// put is called with mu held.
func (q *quotas) put(id uuid.UUID, v QuotaView, fresh time.Duration) {
	if len(q.seen) >= quotaMost {
		clear(q.seen) // all are a minute old at most
	}
	q.seen[id] = quotaSeen{view: v, until: time.Now().Add(fresh)}
}

// quota is what an account's provider tells of its quota; nil where it tells
// nothing of the kind, or would not any more.
func (a *API) quota(ctx context.Context, account oauthaccount.Account) *QuotaView {
	reader, ok := a.cfg.Connectors[account.Provider].(connectors.QuotaReader)
	if !ok || account.Status != oauthaccount.Active {
		return nil
	}
	v, ok := a.quotas.find(account.ID)
	if !ok {
		v = a.readQuota(ctx, reader, account)
		a.quotas.add(account.ID, v)
	}
	return &v
}

func (a *API) readQuota(ctx context.Context, reader connectors.QuotaReader, account oauthaccount.Account) QuotaView {
	ctx, cancel := context.WithTimeout(ctx, quotaLimit)
	defer cancel()
	opened, err := account.Open()
	var q connectors.Quota
	if err == nil {
		q, err = reader.ReadQuota(ctx, opened)
	}
	if err != nil {
		a.cfg.Logger.InfoContext(ctx, "read the quota of an account", "account", account.ID, "provider", account.Provider, "error", err)
		return QuotaView{}
	}
	left := max(q.Total-q.Used, 0)
	return QuotaView{Known: true, Used: &q.Used, Total: &q.Total, Remaining: &left, WindowSeconds: int(q.Window.Seconds())}
}
