package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Refusal is a call that has to be refused.
type Refusal struct {
	Name   string
	Call   Call
	Status []int // with one of these; empty: any 4xx
}

// Marker begins every made-up value that could be a secret, so that one that is
// repeated somewhere can be told.
const Marker = "made-up-secret-"

// tooLarge is more than a body may hold.
const tooLarge = 1<<20 + 1

// Refusals makes of a good call those that the document rules out: without a key
// that is valid, with parameters and bodies that break their schemas, for what
// there is not. None of them differs from the good one in more than one thing.
func Refusals(good Call) (all []Refusal) {
	all = append(all, keys(good)...)
	for _, p := range good.Operation.Parameters {
		switch p.In {
		case "path":
			all = append(all, pathValues(good, p)...)
		case "query":
			all = append(all, queryValues(good, p)...)
		}
	}
	all = append(all, bodies(good)...)
	return append(all, wrongBodies(good)...)
}

func keys(good Call) (all []Refusal) {
	add := func(name, authorization string) {
		all = append(all, Refusal{name, good.With(func(c *Call) {
			if c.Key = ""; authorization != "" {
				c.Header.Set("Authorization", authorization)
			}
		}), []int{http.StatusUnauthorized}})
	}
	if good.Operation.Key == NoKey {
		return nil
	}
	add("a key that nobody has", "Bearer pb_"+Marker+strings.Repeat("k", 28))
	add("something that is no key", "Bearer "+Marker+"key")
	add("another scheme", "Basic "+Marker+"password")
	if good.Operation.Key == NeedsKey {
		add("no key", "")
	}
	return all
}

// pathValues: what there is not is not found; what cannot be is malformed, where
// the schema says what can be.
func pathValues(good Call, p Parameter) (all []Refusal) {
	add := func(name, value string, status ...int) {
		all = append(all, Refusal{p.Name + " in the path: " + name, good.With(func(c *Call) { c.Path[p.Name] = value }), status})
	}
	unknown := "nowhere-to-be-found"
	if p.Schema.Format == "uuid" {
		unknown = "01890000-0000-7000-8000-000000000000"
	}
	add("of nothing", unknown, http.StatusNotFound, http.StatusForbidden) // or not for this caller to ask
	for name, value := range p.Schema.invalidTexts() {
		add(name, value, http.StatusBadRequest)
	}
	add("U+0000", unknown+"\x00")
	add("not UTF-8", unknown+"\xff")
	return all
}

func queryValues(good Call, p Parameter) (all []Refusal) {
	for name, value := range p.Schema.invalidTexts() {
		all = append(all, Refusal{p.Name + " in the query: " + name, good.With(func(c *Call) { c.Query.Set(p.Name, value) }), []int{http.StatusBadRequest}})
	}
	return all
}

// invalidTexts are values of a parameter that break its schema.
func (s *Schema) invalidTexts() map[string]string {
	all := map[string]string{}
	for name, value := range s.invalid() {
		switch v := value.(type) {
		case string:
			all[name] = v
		case json.Number:
			all[name] = v.String()
		}
	}
	if s.Type == "integer" {
		all["a word"] = "many"
	}
	return all
}

// invalid are values that break the schema, each in one way. Those of another
// type are not among them.
func (s *Schema) invalid() map[string]any {
	all := map[string]any{}
	put := func(is bool, name string, value any) {
		if is {
			all[name] = value
		}
	}
	switch s.Type {
	case "string":
		put(len(s.Enum) > 0, "none of those that there are", "nonsense")
		put(s.MinLength != nil && *s.MinLength > 0, "empty", "")
		put(s.MaxLength != nil, "too long", strings.Repeat("x", or(s.MaxLength)+1))
		put(slices.Contains([]string{"uuid", "date-time", "uri"}, s.Format), "of another form", "nonsense")
		put(s.Format == "date-time", "without an offset", "2030-01-01T00:00:00")
		put(s.Pattern != "", "characters that are not allowed", "line\nbreak")
	case "integer":
		put(s.Minimum != nil, "too small", integer(s.Minimum, -1))
		put(s.Maximum != nil, "too large", integer(s.Maximum, 1))
		put(true, "a fraction", json.Number("1.5"))
	case "array":
		put(or(s.MinItems) > 0, "no items", []any{})
		put(s.MaxItems != nil && len(s.Items.Enum) > 0, "too many items", slices.Repeat(first(s.Items.Enum), or(s.MaxItems)+1))
		put(true, "an item of another type", []any{map[string]any{}})
		for name, item := range s.Items.invalid() {
			put(true, "an item that is "+name, []any{item})
		}
	}
	return all
}

func or(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func first(list []any) []any { return list[:min(1, len(list))] }

func integer(from *float64, plus float64) json.Number {
	if from == nil {
		return ""
	}
	return json.Number(fmt.Sprintf("%.f", *from+plus))
}

// bodies break the schema of a JSON body.
func bodies(good Call) (all []Refusal) {
	schema := good.Operation.Body["application/json"]
	var members map[string]any
	if schema == nil || json.Unmarshal([]byte(good.Body), &members) != nil {
		return nil
	}
	add := func(name, body string) {
		all = append(all, Refusal{"a body: " + name, good.With(func(c *Call) { c.Body = body }), []int{http.StatusBadRequest}})
	}
	for name, body := range map[string]string{
		"nothing": "", "not JSON": "{", "a list": "[]", "null": "null", "a text": `"x"`, "two values": good.Body + good.Body,
		"not UTF-8": strings.Replace(good.Body, `":"`, "\":\"\xff", 1), "deep": strings.Repeat("[", 20_000),
	} {
		if body != good.Body {
			add(name, body)
		}
	}
	with := func(name, member string, value any) {
		changed := maps.Clone(members)
		changed[member] = value
		raw, err := json.Marshal(changed)
		if err == nil {
			add(member+": "+name, string(raw))
		}
	}
	with("unknown", "surprise", Marker+"value")
	for member, s := range schema.Properties {
		with("null", member, nil)
		with("of another type", member, otherType(s.Type))
		for name, value := range s.invalid() {
			with(name, member, value)
		}
		if s.Type == "string" {
			with("U+0000", member, "a\x00b")
		}
	}
	for _, member := range schema.Required {
		changed := maps.Clone(members)
		delete(changed, member)
		raw, err := json.Marshal(changed)
		if err == nil {
			add(member+" is missing", string(raw))
		}
	}
	return all
}

// otherType is a value that is of none of these types.
func otherType(is any) any {
	if is == "object" {
		return Marker + "no-object"
	}
	return map[string]any{"x": Marker + "no-such-type"}
}

// wrongBodies are bodies that no operation takes, whatever is in them; one that
// takes none is not to be made read one. What comes with a GET is not looked at.
func wrongBodies(good Call) (all []Refusal) {
	if good.Operation.Method == http.MethodGet {
		return nil
	}
	add := func(name string, status int, change func(*Call)) {
		all = append(all, Refusal{name, good.With(change), []int{status}})
	}
	add("a body over the limit", http.StatusRequestEntityTooLarge, func(c *Call) { c.Body = strings.Repeat(" ", tooLarge) + c.Body })
	add("a body of another media type", http.StatusUnsupportedMediaType, func(c *Call) {
		c.Body += "{}"
		c.Header.Set("Content-Type", "text/plain")
	})
	add("a compressed body", http.StatusUnsupportedMediaType, func(c *Call) {
		c.Body += "{}"
		c.Header.Set("Content-Encoding", "gzip")
	})
	return all
}
