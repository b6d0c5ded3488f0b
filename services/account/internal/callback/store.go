package callback

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/telemetry"
)

// kept is how long a call is remembered.
const kept = 90 * 24 * time.Hour

// store is all SQL on provider_callbacks.
type store struct {
	pool     *pgxpool.Pool
	accounts Accounts
	service  string
}

// done is what became of a call.
type done struct {
	replayed bool
	code     string // of a deletion
	accounts []oauthaccount.Account
	former   []uuid.UUID // accounts of before another user's, with a deletion
	events   int         // publish.provider_notified
	skipped  int         // notices that no event could be made of
}

// take acts on a call, or finds that it was taken before. Two copies at once are
// one after the other: the second waits for the row of the first.
func (s store) take(ctx context.Context, c call) (done, error) {
	var d done
	evs, skipped, err := s.notices(ctx, c)
	if err != nil {
		return d, err
	}
	digest := digestOf(c)
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		d = done{events: len(evs), skipped: skipped}
		if d.code, err = remember(ctx, tx, digest, c); err != nil {
			return err
		}
		if err := s.disconnect(ctx, tx, c, &d); err != nil {
			return err
		}
		if err := note(ctx, tx, digest, d); err != nil {
			return err
		}
		return outbox.Append(ctx, tx, s.service, evs...)
	})
	if errors.Is(err, errSeen) {
		return s.seen(ctx, digest)
	}
	if err != nil {
		return d, fmt.Errorf("take callback: %w", err)
	}
	return d, nil
}

// digestOf is the same for every copy of a call. Lengths keep the parts apart.
func digestOf(c call) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %s %d %s %s", len(c.provider), c.provider, len(c.kind), c.kind, c.call.ID))
}

var errSeen = errors.New("taken before")

// remember returns errSeen for a call that was taken before.
func remember(ctx context.Context, tx pgx.Tx, digest [sha256.Size]byte, c call) (string, error) {
	var code *string
	if c.call.Kind == connectors.CallbackDeletion {
		text := rand.Text()
		code = &text
	}
	tag, err := tx.Exec(ctx, `INSERT INTO provider_callbacks (digest, provider, kind, code) VALUES ($1, $2, $3, $4)
ON CONFLICT (digest) DO NOTHING`, digest[:], c.provider, c.call.Kind, code)
	switch {
	case err != nil:
		return "", err
	case tag.RowsAffected() == 0:
		return "", errSeen
	case code == nil:
		return "", nil
	}
	return *code, nil
}

func (s store) seen(ctx context.Context, digest [sha256.Size]byte) (done, error) {
	d := done{replayed: true}
	err := s.pool.QueryRow(ctx, `SELECT coalesce(code, '') FROM provider_callbacks WHERE digest = $1`, digest[:]).Scan(&d.code)
	return d, err
}

// skew is how far a provider's clock may be behind ours, beside its counting in
// whole seconds. Nobody removes an app and connects again in less.
const skew = 5 * time.Second

// disconnect does what a removal or a deletion asks for. A removal is of the
// connection that there was when it was made; a person's data is deleted whenever
// it came.
func (s store) disconnect(ctx context.Context, tx pgx.Tx, c call, d *done) (err error) {
	sel := oauthaccount.Select{Provider: c.provider, Keys: c.call.AccountKeys}
	switch c.call.Kind {
	case connectors.CallbackDeauthorize:
		sel.ConnectedBy = c.call.IssuedAt.Add(time.Second + skew)
		d.accounts, err = s.accounts.DisconnectIn(ctx, tx, sel, events.DisconnectRevokedAtProvider, false)
	case connectors.CallbackDeletion:
		d.accounts, err = s.accounts.DisconnectIn(ctx, tx, sel, events.DisconnectDeletionRequested, true)
		if err == nil {
			d.former, err = s.accounts.EraseFormerIn(ctx, tx, c.provider, c.call.AccountKeys)
		}
	}
	return err
}

// note keeps which accounts it was about, for the status of a deletion.
func note(ctx context.Context, tx pgx.Tx, digest [sha256.Size]byte, d done) error {
	var ids [][16]byte
	for _, a := range d.accounts {
		ids = append(ids, a.ID)
	}
	for _, id := range d.former {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE provider_callbacks SET account_ids = $2 WHERE digest = $1`, digest[:], ids)
	return err
}

// notices makes the events of what a webhook says of posts of accounts that are
// here. One notice that is odd does not keep the others back.
func (s store) notices(ctx context.Context, c call) (evs []event.Event, skipped int, err error) {
	if c.call.Kind != connectors.CallbackWebhook || len(c.call.Posts) == 0 {
		return nil, 0, nil
	}
	byKey, err := s.byKey(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	parent, state := telemetry.TraceContext(ctx)
	for _, p := range c.call.Posts {
		for _, a := range byKey[p.AccountKey] {
			e, err := events.New(events.Meta{
				Source: "/postbus/" + s.service, Subject: a.ID.String(), PartitionKey: a.ID.String(), TraceParent: parent, TraceState: state,
			}, events.PublishProviderNotified{AccountID: a.ID.String(), Provider: c.provider, Handle: p.RemoteID, Kind: p.Kind})
			if err != nil {
				skipped++
				continue
			}
			evs = append(evs, e)
		}
	}
	return evs, skipped, nil
}

// byKey finds the accounts that are connected here, by the names that the
// provider has for them.
func (s store) byKey(ctx context.Context, c call) (map[string][]oauthaccount.Account, error) {
	var keys []string
	for _, p := range c.call.Posts {
		keys = append(keys, p.AccountKey)
	}
	accounts, err := s.accounts.Find(ctx, c.provider, keys)
	if err != nil {
		return nil, fmt.Errorf("find accounts of a webhook: %w", err)
	}
	out := map[string][]oauthaccount.Account{}
	for _, a := range accounts {
		if !a.Status.Connected() {
			continue
		}
		for _, key := range connectors.AccountKeys(a.ProviderAccountID, a.Metadata) {
			out[key] = append(out[key], a)
		}
	}
	return out, nil
}

// request is a deletion that was asked for.
type request struct {
	at       time.Time
	accounts [][16]byte
}

// deletion returns the request with a code.
func (s store) deletion(ctx context.Context, provider, code string) (request, bool, error) {
	var r request
	var ids []uuid.UUID
	err := s.pool.QueryRow(ctx, `SELECT received_at, account_ids FROM provider_callbacks WHERE code = $1 AND provider = $2`, code, provider).
		Scan(&r.at, &ids)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, false, nil
	}
	for _, id := range ids {
		r.accounts = append(r.accounts, id)
	}
	return r, err == nil, err
}

func (s store) sweep(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM provider_callbacks WHERE received_at < now() - $1::interval`, kept)
	return err
}
