package schemas_test

import (
	"encoding/json"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"postbus.dev/events"
	"postbus.dev/events/eventstest"
	"postbus.dev/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// These tests hold the structs of package events, by which the services judge
// data, to the schemas, by which everybody else does.

func TestEveryDataTypeHasASchemaAndTheReverse(t *testing.T) {
	t.Parallel()
	var fromTypes []string
	for name, d := range eventstest.Zero() {
		fromTypes = append(fromTypes, events.SchemaURI(name, d.SchemaVersion()))
		if d.EventType() != name {
			t.Errorf("the data of %s says that it is of %s", name, d.EventType())
		}
	}
	var fromFiles []string
	for _, p := range glob(t, "*/*.json") {
		fromFiles = append(fromFiles, schemas.Base+p)
		if id := readSchema(t, p).ID; id != schemas.Base+p {
			t.Errorf("%s has $id %s", p, id)
		}
	}
	slices.Sort(fromTypes)
	if !slices.Equal(fromTypes, fromFiles) {
		t.Errorf("types have %q, files are %q", fromTypes, fromFiles)
	}
}

func TestEverySchemaPropertyIsAFieldOfTheStructAndTheReverse(t *testing.T) {
	t.Parallel()
	for name, d := range eventstest.Zero() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := readSchema(t, name+"/"+d.SchemaVersion()+".json")
			compare(t, "", root, root, reflect.TypeOf(d).Elem())
		})
	}
}

// node is the part of a schema that a struct has a counterpart of.
type node struct {
	ID                   string           `json:"$id"`
	Ref                  string           `json:"$ref"`
	Type                 any              `json:"type"`
	Enum                 []string         `json:"enum"`
	Properties           map[string]*node `json:"properties"`
	Required             []string         `json:"required"`
	Items                *node            `json:"items"`
	AdditionalProperties *bool            `json:"additionalProperties"`
	Defs                 map[string]*node `json:"$defs"`
}

func (n *node) resolve(root *node) *node {
	if def, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
		return root.Defs[def]
	}
	return n
}

// compare walks a struct and its schema together.
func compare(t *testing.T, at string, root, n *node, typ reflect.Type) {
	t.Helper()
	n = n.resolve(root)
	switch {
	case typ.Kind() == reflect.Struct && typ.String() != "time.Time":
		if n.AdditionalProperties == nil || *n.AdditionalProperties {
			t.Errorf("%s takes unknown fields, the decoder refuses them", at)
		}
		fields := jsonFields(typ)
		for name := range n.Properties {
			if _, ok := fields[name]; !ok {
				t.Errorf("%s/%s is in the schema and not in %s", at, name, typ)
			}
		}
		for name, f := range fields {
			p, ok := n.Properties[name]
			if !ok {
				t.Errorf("%s/%s is in %s and not in the schema", at, name, typ)
				continue
			}
			// What is always written can be required; New refuses the rest.
			if !strings.Contains(f.Tag.Get("json"), ",omit") && !slices.Contains(n.Required, name) {
				t.Errorf("%s/%s is always written and not required", at, name)
			}
			compare(t, at+"/"+name, root, p, f.Type)
		}
	case typ == reflect.TypeFor[json.RawMessage]():
		wantType(t, at, n, "object")
	case typ.Kind() == reflect.Slice:
		wantType(t, at, n, "array")
		compare(t, at+"/items", root, n.Items, typ.Elem())
	case typ.Kind() == reflect.Pointer:
		if !reflect.DeepEqual(n.Type, []any{"string", "null"}) {
			t.Errorf("%s is %v, the struct has %s", at, n.Type, typ)
		}
	case typ.Kind() == reflect.Bool:
		wantType(t, at, n, "boolean")
	case typ.Kind() == reflect.Int, typ.Kind() == reflect.Int64:
		wantType(t, at, n, "integer")
	case n.Enum == nil:
		wantType(t, at, n, "string")
	}
}

func wantType(t *testing.T, at string, n *node, want string) {
	t.Helper()
	if n.Type != want {
		t.Errorf("%s is %v in the schema, and %s in the struct", at, n.Type, want)
	}
}

func jsonFields(typ reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			fields[name] = f
		}
	}
	return fields
}

func TestRandomDataValidatesAgainstItsSchemaAndComesBackTheSame(t *testing.T) {
	t.Parallel()
	set := compile(t)
	for name, gen := range eventstest.All() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				d := gen.Draw(t, "data")
				e, err := events.New(events.Meta{Source: "/test"}, d)
				if err != nil {
					t.Fatal(err)
				}
				if err := set.Validate(e.DataSchema(), e.Data()); err != nil {
					t.Fatalf("%s: %v", e.Data(), err)
				}
				back := reflect.New(reflect.TypeOf(d))
				if err := events.DecodeData(e, back.Interface().(events.Data)); err != nil {
					t.Fatalf("%s: %v", e.Data(), err)
				}
				if !reflect.DeepEqual(back.Elem().Interface(), d) {
					t.Fatalf("%#v came back as %#v", d, back.Elem().Interface())
				}
			})
		})
	}
}

func TestValidExamplesAreTakenByTheSchemaAndByTheStruct(t *testing.T) {
	t.Parallel()
	set := compile(t)
	for _, ex := range examples(t, "valid") {
		if err := set.Validate(ex.schema, ex.data); err != nil {
			t.Errorf("%s: schema: %v", ex.path, err)
		}
		if err := decode(t, ex); err != nil {
			t.Errorf("%s: struct: %v", ex.path, err)
		}
	}
}

func TestInvalidExamplesAreRefusedByTheSchemaAndByTheStruct(t *testing.T) {
	t.Parallel()
	set := compile(t)
	for _, ex := range examples(t, "invalid") {
		if err := set.Validate(ex.schema, ex.data); err == nil {
			t.Errorf("%s: the schema takes it", ex.path)
		}
		if err := decode(t, ex); events.Violations(err) == nil {
			t.Errorf("%s: the struct takes it, or says no violation: %v", ex.path, err)
		}
	}
}

func TestEveryTypeHasExamplesOfBothKinds(t *testing.T) {
	t.Parallel()
	for name := range eventstest.Zero() {
		for _, kind := range []string{"valid", "invalid"} {
			if len(glob(t, name+"/1.0/"+kind+"/*.json")) == 0 {
				t.Errorf("%s has no %s example", name, kind)
			}
		}
	}
}

// Changing one member of a valid example at a time finds rules that only one
// side has: where the schema refuses a change, so must the struct.
func TestWhatTheSchemaRefusesTheStructRefuses(t *testing.T) {
	t.Parallel()
	set := compile(t)
	replacements := []any{nil, true, 0, -1, 1.5, "", "x", "\x00", "2026-01-01T00:00:00", []any{}, []any{"x"}, map[string]any{}, map[string]any{"x": "y"}}
	for _, ex := range examples(t, "valid") {
		for _, m := range mutations(t, ex.data, replacements) {
			schemaErr := set.Validate(ex.schema, m)
			structErr := decode(t, example{typ: ex.typ, schema: ex.schema, data: m})
			if schemaErr != nil && structErr == nil {
				t.Errorf("%s: the struct takes %s; the schema: %v", ex.path, m, schemaErr)
			}
			// Beyond the schema the struct knows only how ids hang together.
			if schemaErr == nil && structErr != nil && !strings.Contains(structErr.Error(), "is not the publish of") {
				t.Errorf("%s: the schema takes %s; the struct: %v", ex.path, m, structErr)
			}
		}
	}
}

// mutations are copies of an object with one member, at any depth, replaced or
// left out.
func mutations(t *testing.T, data []byte, replacements []any) [][]byte {
	t.Helper()
	var out [][]byte
	var root any
	unmarshal(t, data, &root)
	emit := func() {
		raw, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for name, old := range v {
				for _, r := range replacements {
					v[name] = r
					emit()
				}
				delete(v, name)
				emit()
				v[name] = old
				if name != "options" && name != "metadata" {
					walk(old)
				}
			}
		}
	}
	walk(root)
	return out
}

type example struct {
	path, typ, schema string
	data              []byte
}

func examples(t *testing.T, kind string) []example {
	t.Helper()
	var out []example
	for _, p := range glob(t, "*/*/"+kind+"/*.json") {
		version := path.Dir(path.Dir(p))
		raw, err := schemas.FS.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, example{path: p, typ: path.Dir(version), schema: schemas.Base + version + ".json", data: raw})
	}
	return out
}

// decode reads an example as a service does.
func decode(t *testing.T, ex example) error {
	t.Helper()
	if ex.typ == events.TypePublishRequested {
		_, err := events.ParsePublishRequested(ex.data)
		return err
	}
	body := `{"specversion":"1.0","id":"1","source":"/test","type":"` + ex.typ + `","dataschema":"` + ex.schema + `","data":` + string(ex.data) + `}`
	e, err := events.UnmarshalJSON([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", ex.path, err)
	}
	return events.DecodeData(e, eventstest.Zero()[ex.typ])
}

func compile(t *testing.T) *schemas.Set {
	t.Helper()
	set, err := schemas.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func readSchema(t *testing.T, p string) *node {
	t.Helper()
	raw, err := schemas.FS.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	var n node
	unmarshal(t, raw, &n)
	return &n
}

func unmarshal(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := fs.Glob(schemas.FS, pattern)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
