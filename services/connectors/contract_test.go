package connectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSecretShowsItselfToRevealOnly(t *testing.T) {
	t.Parallel()
	s := NewSecret(testToken)
	holder := struct {
		Public Secret
		hidden Secret
		ptr    *Secret
	}{s, s, &s}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "holder", holder)
	b, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", holder, holder, holder),
		fmt.Sprint(&holder), string(b), log.String(), fmt.Sprintf("%v", Account{AccessToken: s}),
	} {
		if strings.Contains(text, testToken) || strings.Contains(text, fmt.Sprintf("%x", testToken)) {
			t.Errorf("shows the secret: %s", text)
		}
	}
	if s.Reveal() != testToken || s.Empty() || !(Secret{}).Empty() {
		t.Error("reveal or empty is wrong")
	}
}

func TestErrorTellsKindCallCodeAndCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("reset")
	e := &Error{Kind: KindWait, Call: Call{Name: "media_publish"}, ProviderCode: "9/2207042", Message: "quota", Err: cause}
	if got := e.Error(); got != "media_publish: wait_until 9/2207042: quota: reset" {
		t.Errorf("got %q", got)
	}
	if AsError(fmt.Errorf("commit: %w", e)) != e || !errors.Is(e, cause) {
		t.Error("the chain is broken")
	}
	if got := AsError(cause); got.Kind != KindUnknown || !errors.Is(got, cause) {
		t.Errorf("an error nobody classified is %v", got.Kind)
	}
}

func TestScaleMultipliesEveryTime(t *testing.T) {
	t.Parallel()
	in := func(u time.Duration) Timing {
		return Timing{
			Lead: 1 * u, Commit: 2 * u, Settle: 3 * u, UserTO: 4 * u, Look: 5 * u, Window: 6 * u, Confirm: 11 * u,
			Watch: []time.Duration{7 * u, 8 * u}, Backoff: 9 * u, BackoffTo: 10 * u,
		}
	}
	full := in(time.Second)
	if got := full.Scale(0.001); !reflect.DeepEqual(got, in(time.Millisecond)) {
		t.Errorf("got %+v", got)
	}
	if !reflect.DeepEqual(full, in(time.Second)) {
		t.Error("the original was changed")
	}
}

func TestAnAccountIsNamedByItsIDAndByTheNameThatCallbacksHave(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, metadata string
		want         []string
	}{
		{"1784", `{"callback_id":"218471","kind":"business"}`, []string{"1784", "218471"}},
		{"1784", `{"kind":"business"}`, []string{"1784"}},
		{"1784", ``, []string{"1784"}},
		{"1784", `{"callback_id":7}`, []string{"1784"}},
		{"", `{"callback_id":"218471"}`, []string{"218471"}},
		{"", `[]`, []string{}},
	} {
		if got := AccountKeys(c.id, json.RawMessage(c.metadata)); !slices.Equal(got, c.want) {
			t.Errorf("%s %s is named %v, want %v", c.id, c.metadata, got, c.want)
		}
	}
}
