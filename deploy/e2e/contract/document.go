// Package contract holds what an API answers to what its OpenAPI 3.1 document
// says, and makes calls of the document that have to be refused.
//
// A schema of OpenAPI 3.1 is a JSON Schema of 2020-12 as it is, so that the
// library which checks the schemas of events checks answers too. What is beyond
// schemas (which statuses, media types and header fields there are, what the
// envelope repeats) is little, and stands in check.go.
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Document is an API as its OpenAPI document describes it.
type Document struct {
	Operations []*Operation // by path and method

	fields []string // the header fields that some answer is documented with
}

// Operation is one of its operations.
type Operation struct {
	ID, Method, Path string
	Key              Key
	Parameters       []Parameter
	Body             map[string]*Schema // by media type; nil where it takes none

	responses map[string]*response
}

// Key says whether an operation wants an API key.
type Key int

// Whether an operation wants an API key.
const (
	NoKey Key = iota
	OptionalKey
	NeedsKey
)

// Parameter is one of path, query or header.
type Parameter struct {
	Name, In string
	Required bool
	Schema   *Schema
}

// Schema is what invalid values are made of: the keywords that rule one out.
type Schema struct {
	Ref                  string `json:"$ref"`
	Type                 any
	Format, Pattern      string
	Enum                 []any
	MinLength, MaxLength *int
	Minimum, Maximum     *float64
	MinItems, MaxItems   *int
	Items                *Schema
	Properties           map[string]*Schema
	Required             []string
	AdditionalProperties any
}

// response is the answer with one status.
type response struct {
	description string
	headers     map[string]field
	content     map[string]*jsonschema.Schema // by media type; nil where it has no schema
}

// field is a header field of an answer.
type field struct {
	required bool
	schema   *jsonschema.Schema
}

// Statuses are those that the operation is documented to answer with.
func (o *Operation) Statuses() (all []string) {
	for status := range o.responses {
		all = append(all, status)
	}
	slices.Sort(all)
	return all
}

// Parameter returns the one with this name, or nil.
func (o *Operation) Parameter(in, name string) *Parameter {
	for i, p := range o.Parameters {
		if p.In == in && p.Name == name {
			return &o.Parameters[i]
		}
	}
	return nil
}

// Operation returns the one with this id, or nil.
func (d *Document) Operation(id string) *Operation {
	for _, o := range d.Operations {
		if o.ID == id {
			return o
		}
	}
	return nil
}

// Find returns the operation of a request, or nil. A segment of the path that
// stands in the document fits better than a parameter: /import is no {id}.
func (d *Document) Find(method, escapedPath string) (best *Operation) {
	for _, o := range d.Operations {
		if o.Method == method && fits(o.Path, escapedPath) && (best == nil || better(o.Path, best.Path)) {
			best = o
		}
	}
	return best
}

func fits(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i, segment := range want {
		if segment != got[i] && (!strings.HasPrefix(segment, "{") || got[i] == "") {
			return false
		}
	}
	return true
}

func better(a, b string) bool { return strings.Count(a, "{") < strings.Count(b, "{") }

// written is the document as it is written down.
type written struct {
	Paths      map[string]map[string]writtenOperation
	Components struct{ Schemas map[string]*Schema }
}

type writtenOperation struct {
	OperationID string
	Security    []map[string][]string
	Parameters  []Parameter
	RequestBody struct {
		Content map[string]struct{ Schema *Schema }
	}
	Responses map[string]struct {
		Description string
		Headers     map[string]struct{ Required bool }
		Content     map[string]struct{ Schema json.RawMessage }
	}
}

// Read reads a document and compiles every schema of an answer. Security that
// stands for all operations is not read: ours states it for each.
func Read(raw []byte) (*Document, error) {
	var w written
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, fmt.Errorf("read openapi document: %w", err)
	}
	c, err := newCompiler(raw)
	if err != nil {
		return nil, err
	}
	d := &Document{}
	for path, methods := range w.Paths {
		for method, wo := range methods {
			o := &Operation{ID: wo.OperationID, Method: strings.ToUpper(method), Path: path, Key: keyOf(wo.Security), Parameters: wo.Parameters}
			for media, body := range wo.RequestBody.Content {
				if o.Body == nil {
					o.Body = map[string]*Schema{}
				}
				o.Body[media] = resolve(body.Schema, w.Components.Schemas)
			}
			if o.responses, err = c.responses(wo, "/paths/"+escape(path)+"/"+method+"/responses/"); err != nil {
				return nil, fmt.Errorf("%s: %w", o.ID, err)
			}
			d.Operations = append(d.Operations, o)
		}
	}
	slices.SortFunc(d.Operations, func(a, b *Operation) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	d.fields = fieldsOf(d.Operations)
	return d, nil
}

func keyOf(security []map[string][]string) Key {
	switch {
	case len(security) == 0:
		return NoKey
	case slices.ContainsFunc(security, func(one map[string][]string) bool { return len(one) == 0 }):
		return OptionalKey
	default:
		return NeedsKey
	}
}

func fieldsOf(operations []*Operation) (names []string) {
	for _, o := range operations {
		for _, r := range o.responses {
			for name := range r.headers {
				if name = http.CanonicalHeaderKey(name); !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// resolve puts the schemas that are named in the place of their names. Those of
// bodies do not contain themselves.
func resolve(s *Schema, named map[string]*Schema) *Schema {
	if s == nil {
		return nil
	}
	if s.Ref != "" {
		return resolve(named[strings.TrimPrefix(s.Ref, "#/components/schemas/")], named)
	}
	out := *s
	out.Items = resolve(s.Items, named)
	out.Properties = map[string]*Schema{}
	for name, p := range s.Properties {
		out.Properties[name] = resolve(p, named)
	}
	return &out
}

// compiler compiles schemas where they stand in the document.
type compiler struct{ *jsonschema.Compiler }

const location = "https://postbus.dev/openapi.json"

func newCompiler(raw []byte) (compiler, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return compiler{}, err
	}
	c := compiler{jsonschema.NewCompiler()}
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	return c, c.AddResource(location, doc)
}

func (c compiler) responses(o writtenOperation, at string) (map[string]*response, error) {
	out := map[string]*response{}
	for status, told := range o.Responses {
		r := &response{description: told.Description, headers: map[string]field{}, content: map[string]*jsonschema.Schema{}}
		for name, h := range told.Headers {
			s, err := c.Compile(location + "#" + at + status + "/headers/" + escape(name) + "/schema")
			if err != nil {
				return nil, err
			}
			r.headers[http.CanonicalHeaderKey(name)] = field{h.Required, s}
		}
		for media, content := range told.Content {
			if r.content[media] = nil; len(content.Schema) == 0 {
				continue
			}
			s, err := c.Compile(location + "#" + at + status + "/content/" + escape(media) + "/schema")
			if err != nil {
				return nil, err
			}
			r.content[media] = s
		}
		out[status] = r
	}
	return out, nil
}

// escape makes a member's name a part of a JSON pointer in a URL's fragment.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
}
