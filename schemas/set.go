package schemas

import (
	"bytes"
	"fmt"
	"io/fs"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Set is all schemas, compiled. It is for tools and tests: slower than the
// structs of postbus.dev/events, and it stops at what a schema can say.
type Set struct {
	byURI map[string]*jsonschema.Schema
}

// Compile compiles the schemas of FS. They assert their formats.
func Compile() (*Set, error) {
	paths, err := fs.Glob(FS, "*/*.json")
	if err != nil {
		return nil, fmt.Errorf("list schemas: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, path := range paths {
		if err := add(c, path); err != nil {
			return nil, fmt.Errorf("read schema %s: %w", path, err)
		}
	}
	s := &Set{byURI: make(map[string]*jsonschema.Schema, len(paths))}
	for _, path := range paths {
		if s.byURI[Base+path], err = c.Compile(Base + path); err != nil {
			return nil, fmt.Errorf("compile schema %s: %w", path, err)
		}
	}
	return s, nil
}

func add(c *jsonschema.Compiler, path string) error {
	raw, err := FS.ReadFile(path)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return c.AddResource(Base+path, doc)
}

// Validate checks the data of an event against the schema that its dataschema
// names.
func (s *Set) Validate(dataschema string, data []byte) error {
	schema, ok := s.byURI[dataschema]
	if !ok {
		return fmt.Errorf("no schema %s", dataschema)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read data: %w", err)
	}
	return schema.Validate(value)
}
