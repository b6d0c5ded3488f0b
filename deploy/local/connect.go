package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"postbus.dev/deploy/visitor"
	"postbus.dev/services/connectors/sandbox/stage"
)

// connectLimit is for one account to be connected, a person's clicks included.
const connectLimit = 30 * time.Second

// connectAccounts connects an account at each stand-in, unless there is one: by
// a link, at the provider's page and back, as a person's browser would.
func (s *system) connectAccounts(ctx context.Context) error {
	known := map[string]bool{}
	for _, a := range s.stand.Accounts("") {
		if known[a.Provider] {
			continue // one each
		}
		known[a.Provider] = true
		there, err := s.connected(ctx, a.Provider)
		if err != nil {
			return fmt.Errorf("look for the account of %s: %w", a.Provider, err)
		}
		if there {
			continue
		}
		if err := s.connect(ctx, a); err != nil {
			return fmt.Errorf("connect %s of %s: %w", a.Username, a.Provider, err)
		}
		s.say("%-17s  %s of %s", "account.connected", a.Username, a.Provider)
	}
	return nil
}

// connected says whether the demo user has an account at a provider.
func (s *system) connected(ctx context.Context, provider string) (bool, error) {
	var list struct {
		Items []struct{ Status string }
	}
	if err := s.api(ctx, http.MethodGet, "/api/accounts?provider="+url.QueryEscape(provider), nil, &list); err != nil {
		return false, err
	}
	for _, a := range list.Items {
		if a.Status == "active" || a.Status == "reauth_required" {
			return true, nil
		}
	}
	return false, nil
}

// api calls the API with the demo key and reads the data of its answer.
func (s *system) api(ctx context.Context, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.apiURL+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.seeded.APIKey.Reveal())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	var answer struct {
		Success bool
		Data    json.RawMessage
		Error   struct{ Code, Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s %s: status %d: %w", method, path, resp.StatusCode, err)
	}
	if !answer.Success {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Error.Code, answer.Error.Message)
	}
	return json.Unmarshal(answer.Data, into)
}

// connect is what a person does with a link.
func (s *system) connect(ctx context.Context, a stage.Account) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	var link struct{ URL string }
	if err := s.api(ctx, http.MethodPost, "/api/connect/"+a.Provider+"/links", struct{}{}, &link); err != nil {
		return err
	}
	page, err := visitor.New(nil).Connect(ctx, link.URL, a.ID)
	if err != nil {
		return err
	}
	return page.Err()
}
