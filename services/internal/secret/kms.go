package secret

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	vault "github.com/hashicorp/vault/api"
	"github.com/tink-crypto/tink-go-awskms/v3/integration/awskms"
	"github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// withKey calls f with the key at a KMS, and gives up with ctx or after
// kmsLimit: Tink's clients have no limit of their own.
func withKey[T any](ctx context.Context, uri string, f func(tink.AEAD) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsLimit)
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		var key tink.AEAD
		if key, a.err = kmsKey(ctx, uri); a.err == nil {
			a.value, a.err = f(key)
		}
		done <- a
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%s does not answer: %w", uri, ctx.Err())
	}
}

func kmsKey(ctx context.Context, uri string) (tink.AEAD, error) {
	var client registry.KMSClient
	var err error
	switch {
	case strings.HasPrefix(uri, "hcvault://"):
		client, err = vaultClient(uri)
	case strings.HasPrefix(uri, "aws-kms://"):
		client, err = awskms.NewClientWithOptions(ctx, uri)
	default:
		return nil, errors.New("POSTBUS_KEYSET_KMS: the URI begins with hcvault:// or aws-kms://")
	}
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", uri, err)
	}
	key, err := client.GetAEAD(uri)
	if err != nil {
		return nil, fmt.Errorf("use %s: %w", uri, err)
	}
	return key, nil
}

// vaultClient takes the address from the URI and all else from the VAULT_*
// variables, as Vault's own tools do.
func vaultClient(uri string) (registry.KMSClient, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return nil, errors.New("the URI is not hcvault://host:port/transit/keys/name")
	}
	cfg := vault.DefaultConfig()
	if cfg.Error != nil {
		return nil, cfg.Error
	}
	cfg.Address = "https://" + u.Host
	c, err := vault.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return hcvault.NewClientWithAEADOptions(uri, c.Logical())
}
