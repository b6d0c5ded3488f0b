package connect

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/secret"
)

// Why a link or a state is of no use.
var (
	errUnknown      = errors.New("not known")
	errProvider     = errors.New("made for another provider")
	errBrowser      = errors.New("made for another browser")
	errUsed         = errors.New("used already")
	errLinkUsed     = errors.New("its link was used meanwhile")
	errExpired      = errors.New("expired")
	errUserDeleting = errors.New("its user is gone or about to be deleted")
	errTooMany      = errors.New("too many are open")
)

// keptAfterExpiry is how long a link or state is told from one that never was.
const keptAfterExpiry = time.Hour

// store is all SQL on connect_links and connect_states. Times are the database's.
type store struct {
	pool    *pgxpool.Pool
	sealer  *secret.Sealer
	maxOpen int
}

const addLinkSQL = `
INSERT INTO connect_links (token_sha256, user_id, provider, return_to, expires_at)
SELECT $1, $2, $3, $4, now() + $5::interval
WHERE (SELECT count(*) FROM connect_links WHERE user_id = $2 AND used_at IS NULL AND expires_at > now()) < $6
RETURNING expires_at`

// addLink returns errTooMany, or when the link expires.
func (s store) addLink(ctx context.Context, token hash, user uuid.UUID, provider, returnTo string, life time.Duration) (time.Time, error) {
	var expires time.Time
	err := s.pool.QueryRow(ctx, addLinkSQL, token[:], user, provider, returnTo, life, s.maxOpen).Scan(&expires)
	if errors.Is(err, pgx.ErrNoRows) {
		return expires, errTooMany
	}
	return expires, err
}

// beginning is who begins to connect, and what for.
type beginning struct {
	user     uuid.UUID
	provider string
	returnTo string
	link     *hash // nil for a caller with a key
}

const linkSQL = `
SELECT l.user_id, l.return_to, l.provider <> $2, l.used_at IS NOT NULL, l.expires_at <= now(), u.deleting_at IS NOT NULL
FROM connect_links l JOIN users u ON u.id = l.user_id
WHERE l.token_sha256 = $1`

// link returns what a link is for.
func (s store) link(ctx context.Context, token hash, provider string) (beginning, error) {
	b := beginning{provider: provider, link: &token}
	var other, used, expired, deleting bool
	err := s.pool.QueryRow(ctx, linkSQL, token[:], provider).Scan(&b.user, &b.returnTo, &other, &used, &expired, &deleting)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return b, errUnknown
	case err != nil:
		return b, err
	}
	return b, first(reason{other, errProvider}, reason{used, errUsed}, reason{expired, errExpired}, reason{deleting, errUserDeleting})
}

type reason struct {
	holds bool
	err   error
}

func first(reasons ...reason) error {
	for _, r := range reasons {
		if r.holds {
			return r.err
		}
	}
	return nil
}

// useLink ends a link that has led to a connection.
func (s store) useLink(ctx context.Context, token hash) error {
	_, err := s.pool.Exec(ctx, `UPDATE connect_links SET used_at = now() WHERE token_sha256 = $1 AND used_at IS NULL`, token[:])
	return err
}

const addStateSQL = `
INSERT INTO connect_states (state_sha256, user_id, provider, link_sha256, browser_sha256, return_to, verifier, expires_at)
SELECT $1, $2, $3, $4, $5, $6, $7, now() + $8::interval
WHERE (SELECT count(*) FROM connect_states WHERE user_id = $2 AND used_at IS NULL AND expires_at > now()) < $9`

// addState writes a state down, or returns errTooMany. verifier may be empty.
func (s store) addState(ctx context.Context, state, browser hash, b beginning, verifier connectors.Secret, life time.Duration) error {
	var sealed, link []byte
	if !verifier.Empty() {
		var err error
		if sealed, err = s.sealer.Seal(verifier, verifierOf(b.provider, state)); err != nil {
			return err
		}
	}
	if b.link != nil {
		link = b.link[:]
	}
	tag, err := s.pool.Exec(ctx, addStateSQL, state[:], b.user, b.provider, link, browser[:], b.returnTo, sealed, life, s.maxOpen)
	if err == nil && tag.RowsAffected() == 0 {
		return errTooMany
	}
	return err
}

// verifierOf binds a verifier to its row.
func verifierOf(provider string, state hash) secret.AD {
	return secret.AD{Table: "connect_states", Column: "verifier", Provider: provider, ProviderAccountID: hex.EncodeToString(state[:])}
}

// One statement, so that of two copies of a callback one finds it.
const consumeSQL = `
UPDATE connect_states s SET used_at = now()
WHERE s.state_sha256 = $1 AND s.provider = $2 AND s.browser_sha256 = $3 AND s.used_at IS NULL AND s.expires_at > now()
  AND NOT EXISTS (SELECT FROM connect_links l WHERE l.token_sha256 = s.link_sha256 AND l.used_at IS NOT NULL)
  AND EXISTS (SELECT FROM users u WHERE u.id = s.user_id AND u.deleting_at IS NULL)
RETURNING s.user_id, s.return_to, s.link_sha256, s.verifier`

// consume spends a state. It changes nothing where it returns an error, but for
// one of the connection. With errExpired, errLinkUsed and errUserDeleting the
// beginning says where the person, whose browser it is, wanted to go.
func (s store) consume(ctx context.Context, state, browser hash, provider string) (beginning, connectors.Secret, error) {
	b := beginning{provider: provider}
	var link, sealed []byte
	err := s.pool.QueryRow(ctx, consumeSQL, state[:], provider, browser[:]).Scan(&b.user, &b.returnTo, &link, &sealed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		b, err = s.whyNot(ctx, state, browser, provider)
		return b, connectors.Secret{}, err
	case err != nil:
		return b, connectors.Secret{}, fmt.Errorf("consume state: %w", err)
	}
	if link != nil {
		h := hash(link)
		b.link = &h
	}
	if sealed == nil {
		return b, connectors.Secret{}, nil
	}
	verifier, err := s.sealer.Open(sealed, verifierOf(provider, state))
	return b, verifier, err
}

const whyNotSQL = `
SELECT s.user_id, s.return_to, s.provider <> $2, s.browser_sha256 <> $3, s.used_at IS NOT NULL, s.expires_at <= now(),
  EXISTS (SELECT FROM connect_links l WHERE l.token_sha256 = s.link_sha256 AND l.used_at IS NOT NULL)
FROM connect_states s WHERE s.state_sha256 = $1`

func (s store) whyNot(ctx context.Context, state, browser hash, provider string) (beginning, error) {
	b := beginning{provider: provider}
	var other, foreign, used, expired, linkUsed bool
	err := s.pool.QueryRow(ctx, whyNotSQL, state[:], provider, browser[:]).
		Scan(&b.user, &b.returnTo, &other, &foreign, &used, &expired, &linkUsed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return beginning{provider: provider}, errUnknown
	case err != nil:
		return b, fmt.Errorf("look at state: %w", err)
	}
	return b, first(reason{other, errProvider}, reason{used, errUsed}, reason{foreign, errBrowser}, reason{expired, errExpired},
		reason{linkUsed, errLinkUsed}, reason{true, errUserDeleting})
}

// sweep forgets what nobody would ask for any more.
func (s store) sweep(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM connect_states WHERE expires_at < now() - $1::interval`, keptAfterExpiry)
	_, linkErr := s.pool.Exec(ctx, `DELETE FROM connect_links WHERE expires_at < now() - $1::interval`, keptAfterExpiry)
	return errors.Join(err, linkErr)
}
