package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"postbus.dev/services/internal/secret"
)

// wrap and unwrap stand for a key that never leaves its service.
const wrapped = "wrapped:"

// vault answers like Vault's transit engine.
func vault(t *testing.T, calls *atomic.Int32) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var in struct{ Plaintext, Ciphertext string }
		if r.Header.Get("X-Vault-Token") != "vault-token" || json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		out := map[string]string{}
		switch r.URL.Path {
		case "/v1/transit/encrypt/postbus":
			out["ciphertext"] = "vault:v1:" + in.Plaintext
		case "/v1/transit/decrypt/postbus":
			out["plaintext"] = strings.TrimPrefix(in.Ciphertext, "vault:v1:")
		default:
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": out})
	}))
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VAULT_TOKEN", "vault-token")
	t.Setenv("VAULT_CACERT", ca)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	return s
}

// aws answers like AWS KMS.
func aws(t *testing.T, calls *atomic.Int32) {
	t.Helper()
	const key = "arn:aws:kms:eu-west-1:123456789012:key/postbus"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var in struct{ Plaintext, CiphertextBlob []byte }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		out := map[string]string{"KeyId": key}
		switch r.Header.Get("X-Amz-Target") {
		case "TrentService.Encrypt":
			out["CiphertextBlob"] = base64.StdEncoding.EncodeToString(append([]byte(wrapped), in.Plaintext...))
		case "TrentService.Decrypt":
			out["Plaintext"] = base64.StdEncoding.EncodeToString(bytes.TrimPrefix(in.CiphertextBlob, []byte(wrapped)))
		}
		_ = json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(s.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": s.URL, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
}

// Not parallel: the services' libraries read the environment.
func TestAKeysetCanBeEncryptedByAKeyManagementService(t *testing.T) {
	var calls atomic.Int32
	server := vault(t, &calls)
	aws(t, &calls)
	for name, uri := range map[string]string{
		"vault": "hcvault://" + strings.TrimPrefix(server.URL, "https://") + "/transit/keys/postbus",
		"aws":   "aws-kms://arn:aws:kms:eu-west-1:123456789012:key/postbus",
	} {
		t.Run(name, func(t *testing.T) {
			before := calls.Load()
			file := secret.Keyset{Path: filepath.Join(t.TempDir(), "keyset.json"), KMS: uri}
			if err := file.Create(t.Context()); err != nil {
				t.Fatal(err)
			}
			body, err := os.ReadFile(file.Path)
			if err != nil || !bytes.Contains(body, []byte("encryptedKeyset")) {
				t.Errorf("%s %v", body, err)
			}
			if _, err := secret.LoadSealer(secret.Keyset{Path: file.Path}); err == nil || !strings.Contains(err.Error(), "POSTBUS_KEYSET_KMS") {
				t.Errorf("opened without the service: %v", err)
			}
			running := load(t, file)
			old := seal(t, running)
			rotate(t, file)
			opens(t, running, seal(t, load(t, file)))
			opens(t, running, old)
			if n := calls.Load() - before; n < 5 || n > 15 {
				t.Errorf("%d calls: the service is asked when the file changes, not for each token", n)
			}
		})
	}
}

func TestAServiceThatRefusesIsNamed(t *testing.T) {
	var calls atomic.Int32
	server := vault(t, &calls)
	t.Setenv("VAULT_TOKEN", "another")
	uri := "hcvault://" + strings.TrimPrefix(server.URL, "https://") + "/transit/keys/postbus"
	err := secret.Keyset{Path: filepath.Join(t.TempDir(), "keyset.json"), KMS: uri}.Create(t.Context())
	if err == nil || !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
}
