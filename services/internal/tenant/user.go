package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// MaxExternalID is the most characters that an external id may have.
const MaxExternalID = 255

// User is a tenant.
type User struct {
	ID         uuid.UUID
	ExternalID string // the upstream's own id
	CreatedAt  time.Time
	DeletingAt time.Time // when her deletion was asked for; zero: it was not
}

// ValidExternalID says why an external id cannot be one, or "". It is a part of
// paths and of log lines of others.
func ValidExternalID(id string) string {
	n := utf8.RuneCountInString(id)
	switch {
	case n < 1 || n > MaxExternalID:
		return fmt.Sprintf("must have 1 to %d characters", MaxExternalID)
	case !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl):
		return "must not hold control characters"
	case id == "." || id == "..":
		return "must not be a dot or two, which are lost from a path"
	}
	return ""
}

const userColumns = `id, external_id, created_at, deleting_at`

func scanUser(row pgx.CollectableRow) (User, error) {
	var u User
	var deleting *time.Time
	err := row.Scan(&u.ID, &u.ExternalID, &u.CreatedAt, &deleting)
	u.DeletingAt = orZero(deleting)
	return u, err
}

// queries is a pool or a transaction.
type queries interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// oneUser is the user that a statement returns, or ErrNoUser.
func oneUser(ctx context.Context, db queries, sql string, args ...any) (User, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return User{}, err
	}
	u, err := pgx.CollectExactlyOneRow(rows, scanUser)
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, ErrNoUser
	}
	return u, err
}

// CreateUser makes the user with an external id, or finds the one there is, who
// may be being deleted.
func (k *Keys) CreateUser(ctx context.Context, externalID string) (User, error) {
	u, err := createUser(ctx, k.pool, externalID)
	if err != nil {
		return User{}, fmt.Errorf("create user: %w", err)
	}
	return u, nil
}

func createUser(ctx context.Context, db queries, externalID string) (User, error) {
	if why := ValidExternalID(externalID); why != "" {
		return User{}, errors.New("external id " + why)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return User{}, err
	}
	// The update that changes nothing makes the row of another writer visible.
	return oneUser(ctx, db, `INSERT INTO users AS u (id, external_id) VALUES ($1, $2)
ON CONFLICT (external_id) DO UPDATE SET external_id = u.external_id RETURNING `+userColumns, id, externalID)
}

// User returns the user with an external id, who may be being deleted. ErrNoUser.
func (k *Keys) User(ctx context.Context, externalID string) (User, error) {
	if ValidExternalID(externalID) != "" {
		return User{}, ErrNoUser
	}
	u, err := oneUser(ctx, k.pool, `SELECT `+userColumns+` FROM users WHERE external_id = $1`, externalID)
	if err != nil {
		return User{}, fmt.Errorf("read user: %w", err)
	}
	return u, nil
}

// Users returns up to limit users, the oldest first, from the one after a user's
// id; the zero UUID is before all.
func (k *Keys) Users(ctx context.Context, after uuid.UUID, limit int) ([]User, error) {
	return k.users(ctx, `SELECT `+userColumns+` FROM users WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
}

func (k *Keys) users(ctx context.Context, sql string, args ...any) ([]User, error) {
	rows, err := k.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	users, err := pgx.CollectRows(rows, scanUser)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	return users, nil
}

// BeginDeletion notes that a user is to be deleted and revokes her keys: from
// now on nothing is connected or asked for in her name. Asking again is no
// error and changes nothing. ErrNoUser. What is left to do is a job's.
func (k *Keys) BeginDeletion(ctx context.Context, userID uuid.UUID) (User, error) {
	defer k.believed.forget(func(c Caller) bool { return c.UserID == userID }) // also where the answer to the commit was lost
	var u User
	err := pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) (err error) {
		u, err = oneUser(ctx, tx, `UPDATE users SET deleting_at = coalesce(deleting_at, now()) WHERE id = $1 RETURNING `+userColumns, userID)
		if err != nil {
			return err
		}
		// A statement of its own: it sees the key that the lock above waited for.
		_, err = tx.Exec(ctx, `UPDATE api_keys SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL`, userID)
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("begin deletion of a user: %w", err)
	}
	return u, nil
}

// FinishDeletion deletes a user whose deletion was begun and who has no account
// left, with all that hangs on her, and the content of her publishes. It says
// whether it did: somebody else may have been faster.
func (k *Keys) FinishDeletion(ctx context.Context, userID uuid.UUID) (gone bool, err error) {
	if gone, err = mayGo(ctx, k.pool, userID, ""); err != nil || !gone {
		return false, err
	}
	if err := Blank(ctx, k.pool, userID, uuid.Nil); err != nil {
		return false, err
	}
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) (err error) {
		if gone, err = mayGo(ctx, tx, userID, "FOR UPDATE"); err != nil || !gone {
			return err
		}
		if err := Blank(ctx, tx, userID, uuid.Nil); err != nil { // what came since
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM users WHERE id = $1`, userID)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("finish deletion of a user: %w", err)
	}
	return gone, nil
}

// mayGo says whether a user is being deleted and has no account. It stays so:
// nothing is connected for her any more.
func mayGo(ctx context.Context, db queries, userID uuid.UUID, lock string) (bool, error) {
	_, err := oneUser(ctx, db, `SELECT `+userColumns+` FROM users u WHERE id = $1 AND deleting_at IS NOT NULL
AND NOT EXISTS (SELECT FROM oauth_accounts a WHERE a.user_id = u.id) `+lock, userID)
	if errors.Is(err, ErrNoUser) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read user: %w", err)
	}
	return true, nil
}

// Blank takes the content of a user's publishes, or of those of one of her
// accounts: the zero UUID is all. A statement takes a thousand, so that on a pool
// no transaction is long, however many there are.
func Blank(ctx context.Context, db queries, userID, accountID uuid.UUID) error {
	var last place
	for {
		rows, err := db.Query(ctx, `SELECT last, last_id FROM publishes_blank($1, nullif($2, '00000000-0000-0000-0000-000000000000'::uuid), $3, $4)`,
			userID, accountID, last.Accepted, last.ID)
		if err == nil {
			last, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[place])
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("blank publishes: %w", err)
		}
	}
}

// place is where a publish stands among those of its user.
type place struct {
	Accepted time.Time // the zero time is before all
	ID       uuid.UUID
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
