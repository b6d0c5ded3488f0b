package main

import (
	"strings"
	"testing"

	"postbus.dev/schemas"
)

func TestTheCommittedDocumentIsThatOfTheCode(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if string(doc) != string(schemas.OpenAPI) {
		t.Error("schemas/openapi.json is not current: run make generate")
	}
}

func TestWhatTwoServicesDocumentDifferentlyIsNamed(t *testing.T) {
	t.Parallel()
	err := merge(object{"a": object{"b": "x"}}, object{"a": object{"b": "y"}}, "")
	if err == nil || !strings.Contains(err.Error(), "/a/b") {
		t.Error(err)
	}
}
