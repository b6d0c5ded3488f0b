package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"postbus.dev/deploy/e2e/bench/onecall"
	"postbus.dev/migrations"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/instagram"
)

// seeded is the database that each measurement gets a copy of.
const seeded = "bench_seeded"

// seed makes it: the schema and accounts at both providers, tokens sealed.
func (s *stand) seed(ctx context.Context) error {
	if err := s.exec(ctx, "CREATE DATABASE "+seeded); err != nil {
		return err
	}
	dsn := s.db.DSN(seeded) + "&synchronous_commit=off" // the checkpoint before a measurement makes it last
	if err := migrations.EnsureRoles(ctx, dsn); err != nil {
		return err
	}
	if _, err := migrations.Apply(ctx, dsn, nil); err != nil {
		return fmt.Errorf("make schema: %w", err)
	}
	list, err := s.instagramUsers(ctx)
	if err != nil {
		return err
	}
	for i := range s.sizes.accounts {
		list = append(list, account.SeedAccount{
			Provider: onecall.Name, ProviderAccountID: fmt.Sprintf("bench-%06d", i), Username: fmt.Sprintf("user %d", i),
			AccessToken: connectors.NewSecret(fmt.Sprintf("token-of-the-length-that-providers-have-%0100d", i)),
		})
	}
	done, err := account.Ensure(ctx, account.Seed{
		DatabaseURL: dsn, KeysetPath: s.path("keyset.json"), KeyPath: s.path("api-key"), ExternalID: "bench", Accounts: list,
	})
	if err != nil {
		return fmt.Errorf("make accounts: %w", err)
	}
	s.accounts = map[string][]string{}
	for i, a := range list {
		s.accounts[a.Provider] = append(s.accounts[a.Provider], done.AccountIDs[i])
	}
	return nil
}

// instagramUsers makes accounts at the stand-in.
func (s *stand) instagramUsers(ctx context.Context) ([]account.SeedAccount, error) {
	var made struct {
		Accounts []struct{ ID, Username, Token string }
	}
	err := s.ask(ctx, http.MethodPost, "/_sandbox/accounts",
		map[string]any{"provider": instagram.Name, "username": "bench", "quotaTotal": -1, "count": s.sizes.igUsers}, &made)
	if err != nil {
		return nil, err
	}
	var list []account.SeedAccount
	for _, a := range made.Accounts {
		list = append(list, account.SeedAccount{
			Provider: instagram.Name, ProviderAccountID: a.ID, Username: a.Username, AccessToken: connectors.NewSecret(a.Token),
		})
	}
	return list, nil
}

// ask calls the stand-in's own side. In and out are JSON; nil is nothing.
func (s *stand) ask(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("ask sandbox: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.sandbox.url+path, &body)
	if err != nil {
		return fmt.Errorf("ask sandbox: %w", err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask sandbox: %w", err)
	}
	raw, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask sandbox: %s %s: status %d: %.200s: %w", method, path, resp.StatusCode, raw, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("ask sandbox: %s %s: %w", method, path, err)
	}
	return nil
}
