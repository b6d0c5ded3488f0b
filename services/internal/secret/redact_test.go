package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"log"
	"log/slog"
	"slices"
	"strings"
	"testing"
	texttemplate "text/template"

	"pgregory.net/rapid"

	"postbus.dev/services/connectors"
)

// holder has a secret wherever one can be put.
type holder struct {
	Public  connectors.Secret
	private connectors.Secret
	Pointer *connectors.Secret
	hidden  *connectors.Secret
	List    []connectors.Secret
	Map     map[string]connectors.Secret
	Any     any
	Account connectors.Account
	nested  struct{ deep connectors.Secret }
}

func hold(value string) holder {
	s := connectors.NewSecret(value)
	h := holder{
		Public: s, private: s, Pointer: &s, hidden: &s, List: []connectors.Secret{s},
		Map: map[string]connectors.Secret{"a": s}, Any: s, Account: connectors.Account{AccessToken: s},
	}
	h.nested.deep = s
	return h
}

// verbs are all that fmt knows, with flags that change how it walks a value.
func verbs() []string {
	out := []string{"%+v", "%#v", "%#x", "% x", "%+q", "%#q", "%10s", "%-10.3s", "%010d", "%[1]*[1]v"}
	for _, v := range "vTtbcdoOqxXUeEfFgGspw" {
		out = append(out, "%"+string(v))
	}
	return out
}

// spellings are the forms in which fmt could give a value away.
func spellings(value string) []string {
	return []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprintf("% x", value), fmt.Sprintf("%d", []byte(value))}
}

func leaks(out, value string) bool {
	for _, s := range spellings(value) {
		if strings.Contains(out, s) {
			return true
		}
	}
	return false
}

func TestASecretPrintsRedactedWithEveryVerb(t *testing.T) {
	t.Parallel()
	s := connectors.NewSecret(token)
	for _, verb := range verbs() {
		for name, v := range map[string]any{"value": s, "pointer": &s} {
			out := fmt.Sprintf(verb, v)
			if leaks(out, token) {
				t.Errorf("%s of a %s: %s", verb, name, out)
			}
			if !slices.Contains([]string{"%T", "%p", "%w"}, verb) && !strings.Contains(out, "[redacted]") {
				t.Errorf("%s of a %s: %s", verb, name, out)
			}
		}
	}
}

func TestNoVerbPrintsASecretThatIsPartOfSomething(t *testing.T) {
	t.Parallel()
	h := hold(token)
	for _, verb := range verbs() {
		for _, v := range []any{h, &h, []holder{h}, map[string]*holder{"a": &h}, struct{ h holder }{h}, h.List, h.Map, h.Account} {
			if out := fmt.Sprintf(verb, v); leaks(out, token) {
				t.Errorf("%s of %T: %s", verb, v, out)
			}
		}
	}
	if out := fmt.Sprintf("%+v", h); strings.Count(out, "[redacted]") < 5 {
		t.Errorf("exported fields do not say that they are redacted: %s", out)
	}
	for _, out := range []string{fmt.Sprint(h), fmt.Sprintln(h, h.Public), fmt.Sprint(h.Public, &h.Public)} {
		if leaks(out, token) {
			t.Error(out)
		}
	}
}

func TestLogsPrintRedacted(t *testing.T) {
	t.Parallel()
	h := hold(token)
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		l := slog.New(handler(&b)).With("with", h.Public)
		l.Info("one", "secret", h.Public, "pointer", h.Pointer, "all", h, "ref", &h, "list", h.List, "map", h.Map,
			slog.Group("group", "secret", h.Public), "error", fmt.Errorf("call: %v", h))
		l.Info(fmt.Sprintf("%v", h.Public))
		if leaks(b.String(), token) || strings.Count(b.String(), "[redacted]") < 8 {
			t.Errorf("%s: %s", name, b.String())
		}
	}
	var b bytes.Buffer
	log.New(&b, "", 0).Print(h, h.Public)
	log.New(&b, "", 0).Printf("%#v %s", h, h.Public)
	if leaks(b.String(), token) {
		t.Errorf("log: %s", b.String())
	}
}

func TestEncodersWriteRedacted(t *testing.T) {
	t.Parallel()
	h := hold(token)
	out, err := json.Marshal(map[string]any{"all": h, "ref": &h, "value": h.Public, "pointer": h.Pointer})
	if err != nil || leaks(string(out), token) || strings.Count(string(out), "[redacted]") < 8 {
		t.Errorf("json: %s %v", out, err)
	}
	out, err = json.Marshal(map[connectors.Secret]int{h.Public: 1})
	if err != nil || leaks(string(out), token) {
		t.Errorf("json key: %s %v", out, err)
	}
	type element struct{ S connectors.Secret }
	out, err = xml.Marshal(element{h.Public})
	if err != nil || string(out) != "<element><S>[redacted]</S></element>" {
		t.Errorf("xml: %s %v", out, err)
	}
	var b bytes.Buffer
	_ = gob.NewEncoder(&b).Encode(h.Public) // refused or redacted
	if leaks(b.String(), token) {
		t.Errorf("gob: %q", b.String())
	}
}

func TestTemplatesPrintRedacted(t *testing.T) {
	t.Parallel()
	const text = `{{.Public}} {{printf "%s" .Public}} {{.}} {{.Pointer}} {{.List}}`
	var b bytes.Buffer
	if err := texttemplate.Must(texttemplate.New("").Parse(text)).Execute(&b, hold(token)); err != nil {
		t.Fatal(err)
	}
	if err := template.Must(template.New("").Parse(text)).Execute(&b, hold(token)); err != nil {
		t.Fatal(err)
	}
	if leaks(b.String(), token) || !strings.Contains(b.String(), "[redacted]") {
		t.Errorf("template: %s", b.String())
	}
}

func TestErrorsPrintRedacted(t *testing.T) {
	t.Parallel()
	h := hold(token)
	inner := fmt.Errorf("inner %v %+v %#v", h.Public, h, &h)
	err := errors.Join(fmt.Errorf("outer: %w", inner), &connectors.Error{Message: fmt.Sprint(h.Public), Err: inner})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if out := fmt.Sprintf(verb, err); leaks(out, token) {
			t.Errorf("%s: %s", verb, out)
		}
	}
}

func TestNoSecretWhateverItsValueIsPrinted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Long enough and of letters that "[redacted]" and addresses lack.
		value := rapid.StringMatching(`[G-Zg-z_\-]{12,60}`).Draw(t, "value")
		h := hold(value)
		verb := rapid.SampledFrom(verbs()).Draw(t, "verb")
		if out := fmt.Sprintf(verb, &h); leaks(out, value) {
			t.Fatalf("%s: %s", verb, out)
		}
		if h.Public.Reveal() != value || h.private.Reveal() != value || h.hidden.Reveal() != value {
			t.Fatal("the value is lost")
		}
	})
}

func TestTheZeroSecretIsEmptyAndPrintsRedacted(t *testing.T) {
	t.Parallel()
	var s connectors.Secret
	if !s.Empty() || s.Reveal() != "" || fmt.Sprint(s) != "[redacted]" || s.String() != "[redacted]" {
		t.Errorf("zero secret: %v", s)
	}
	out, err := json.Marshal(s)
	if err != nil || string(out) != `"[redacted]"` {
		t.Errorf("json: %s %v", out, err)
	}
}
