package migrations

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// passwordsLock is of an advisory lock: two who change one role at once fail.
const passwordsLock = 7_046_029_254

// SetPasswords gives roles the passwords that they log in with from then on.
// Sessions stay. As with psql's \password, the server gets no password but what it
// keeps of one, so that no log or view of statements holds any.
func SetPasswords(ctx context.Context, dsn string, passwords map[string]string) error {
	var faults []error
	for role, password := range passwords {
		if password == "" || strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
			faults = append(faults, fmt.Errorf("the password of %s is empty or has more than the printable characters of ASCII", role))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	db, err := connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to database for its roles: %w", err)
	}
	defer func() { _ = db.Close() }()
	if err := setPasswords(ctx, db, passwords); err != nil {
		return fmt.Errorf("set passwords: %w", err)
	}
	return nil
}

func setPasswords(ctx context.Context, db *sql.DB, passwords map[string]string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", passwordsLock); err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(passwords)) {
		kept, err := scramVerifier(passwords[role])
		if err != nil {
			return err
		}
		// ALTER ROLE takes no parameters; base64 needs no quoting.
		if _, err := tx.ExecContext(ctx, "ALTER ROLE "+pgx.Identifier{role}.Sanitize()+" PASSWORD '"+kept+"'"); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// scramVerifier is what PostgreSQL keeps of a password (RFC 5803): it checks a
// login by it, and nobody can log in with it.
func scramVerifier(password string) (string, error) {
	const iterations = 4096 // as the server's own default
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
