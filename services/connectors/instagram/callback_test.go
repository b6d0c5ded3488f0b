package instagram

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// signed makes a signed_request as Meta's pages describe it.
func signed(secret, payload string) string {
	part := base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(part))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + part
}

func body(signedRequest string) []byte {
	return []byte(url.Values{"signed_request": {signedRequest}}.Encode())
}

const goodPayload = `{"algorithm":"HMAC-SHA256","issued_at":1291836800,"user_id":"218471"}`

func (b *bench) read(kind string, raw []byte) (connectors.Callback, error) {
	return b.c.ReadCallback(connectors.CallbackRequest{Kind: kind, Body: raw})
}

func TestASignedRequestNamesThePersonAndItsTime(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	for _, kind := range []string{connectors.CallbackDeauthorize, connectors.CallbackDeletion} {
		for name, payload := range map[string]string{
			"string id": goodPayload,
			"number id": `{"user_id":218471,"issued_at":"1291836800","algorithm":"hmac-sha256","more":{}}`,
		} {
			got, err := b.read(kind, body(signed(testSecret, payload)))
			if err != nil || got.ID == "" {
				t.Fatalf("%s %s: %+v, %v", kind, name, got, err)
			}
			got.ID = ""
			if want := (connectors.Callback{Kind: kind, AccountKeys: []string{"218471"}, IssuedAt: time.Unix(1291836800, 0)}); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: %+v", kind, name, got)
			}
		}
	}
}

// The example of Meta's own pages, whose secret is "secret". It is signed and
// names nobody.
func TestTheSignatureIsMetas(t *testing.T) {
	t.Parallel()
	const example = "vlXgu64BQGFSQrY0ZcJBZASMvYvTHu9GQ0YM9rjPSso.eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsIjAiOiJwYXlsb2FkIn0"
	for secret, forged := range map[string]bool{"secret": false, "Secret": true} {
		b := setupWith(t, Config{ClientID: clientID, ClientSecret: connectors.NewSecret(secret)})
		_, err := b.read(connectors.CallbackDeletion, body(example))
		if err == nil || errors.Is(err, connectors.ErrForged) != forged || errors.Is(err, errBadPayload) == forged {
			t.Errorf("with %q: %v", secret, err)
		}
	}
}

func TestOneCallHasOneIDHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	request := signed(testSecret, goodPayload)
	plain := body(request)
	first, err := b.read(connectors.CallbackDeletion, plain)
	if err != nil {
		t.Fatal(err)
	}
	signature, payload, _ := strings.Cut(request, ".")
	for name, raw := range map[string][]byte{
		"escaped":           []byte("signed_request=" + strings.ReplaceAll(request, ".", "%2E")),
		"padded signature":  body(signature + "=." + payload),
		"with another form": append([]byte("a=b&"), plain...),
	} {
		got, err := b.read(connectors.CallbackDeletion, raw)
		if err != nil || got.ID != first.ID {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	later, err := b.read(connectors.CallbackDeletion, body(signed(testSecret, strings.Replace(goodPayload, "1291836800", "1291836801", 1))))
	if err != nil || later.ID == first.ID {
		t.Errorf("a later call has the same id: %v", err)
	}
}

func TestAForgedCallIsRefusedAndNotQuoted(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	good := signed(testSecret, goodPayload)
	signature, payload, _ := strings.Cut(good, ".")
	other := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(goodPayload, "218471", "218472", 1)))
	for name, tc := range map[string]struct {
		raw    []byte
		forged bool
	}{
		"another secret":            {body(signed("another", goodPayload)), true},
		"another person":            {body(signature + "." + other), true},
		"no signature":              {body("." + payload), true},
		"half a signature":          {body(signature[:20] + "." + payload), true},
		"signature of nothing":      {body(signature + "."), true},
		"no dot":                    {body(payload), true},
		"no field":                  {[]byte("user_id=218471"), true},
		"empty":                     {nil, true},
		"JSON":                      {[]byte(`{"signed_request":"` + good + `"}`), true},
		"signature not base64":      {body("!!!." + payload), true},
		"signature of a SHA-1":      {body(signature[:27] + "." + payload), true},
		"the unsigned one first":    {[]byte("signed_request=" + signature + "." + other + "&signed_request=" + good), true},
		"another algorithm":         {body(signed(testSecret, strings.Replace(goodPayload, "SHA256", "SHA1", 1))), true},
		"algorithm none":            {body(signed(testSecret, strings.Replace(goodPayload, "HMAC-SHA256", "none", 1))), true},
		"no algorithm":              {body(signed(testSecret, `{"user_id":"218471","issued_at":1}`)), true},
		"signed, nobody named":      {body(signed(testSecret, `{"algorithm":"HMAC-SHA256","issued_at":1}`)), false},
		"signed, named by a list":   {body(signed(testSecret, `{"algorithm":"HMAC-SHA256","user_id":["218471"]}`)), false},
		"signed, and not JSON":      {body(signed(testSecret, `218471`)), false},
		"a form that cannot be":     {[]byte("signed_request=%zz" + good), false},
		"signed, payload no base64": {body(rawSigned("###218471###")), false},
	} {
		got, err := b.read(connectors.CallbackDeauthorize, tc.raw)
		if err == nil || errors.Is(err, connectors.ErrForged) != tc.forged || !reflect.DeepEqual(got, connectors.Callback{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		for _, private := range []string{"218471", signature[:12], payload[:12], testSecret} {
			if strings.Contains(err.Error(), private) {
				t.Errorf("%s: the error quotes it: %v", name, err)
			}
		}
	}
}

// rawSigned signs a payload part that is not base64.
func rawSigned(part string) string {
	mac := hmac.New(sha256.New, []byte(testSecret))
	mac.Write([]byte(part))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + part
}

func TestInstagramHasNoOtherCallbacks(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	for _, kind := range []string{connectors.CallbackWebhook, "", "unknown"} {
		if _, err := b.read(kind, body(signed(testSecret, goodPayload))); !errors.Is(err, connectors.ErrNoCallback) {
			t.Errorf("%q: %v", kind, err)
		}
	}
}
