package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
)

// mutation takes one mechanism out of the code.
type mutation struct {
	Name string
	File string // in the repository
	Old  string // there exactly once
	New  string
	Pkg  string // directory of the test
	Test string // -run
	Says string // what the test has to say, where it may fail for other reasons too
}

//go:embed mutations.json
var list []byte

func mutations() (all []mutation, err error) {
	dec := json.NewDecoder(bytes.NewReader(list))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&all); err != nil {
		return nil, fmt.Errorf("read mutations.json: %w", err)
	}
	return all, nil
}
